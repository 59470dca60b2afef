//! Verdicts in words: what is named, what is shown of an error, what is left out.

use candle_core::Tensor;

use super::answers::learners_line;
use super::verdict::GradeReport;
use crate::part_6::lora_merged::{self, lora_merged};
use crate::part_6::token_f1;
use crate::part_6::two_in_a_row::{self, two_in_a_row};

#[test]
fn an_error_has_the_learners_line() {
    let file = "exercises/work/part_6/lora_merged.rs:20";
    let place = "exercises/learner/src/../../work/part_6/lora_merged.rs:20:18";
    assert_eq!(learners_line(place).as_deref(), Some(file));
    let backtrace = format!(
        "shape mismatch in matmul\n   1: candle_core::tensor::Tensor::matmul\n             at \
         /home/work/candle-core/src/tensor.rs:7:1\n   2: learner::lora_merged\n             at \
         ./{place}\n   3: main\n             at ./exercises/learner/src/../../work/main.rs:9:5\n"
    );
    assert_eq!(learners_line(&backtrace).as_deref(), Some(file));
    assert_eq!(learners_line("at exercises/learner/src/../../work/main.rs:9:5"), None);
    assert_eq!(learners_line("at exercises/src/part_6/lora_merged.rs:9:5"), None);
}

fn lines_with<'a>(verdict: &'a GradeReport, piece: &str) -> Vec<&'a String> {
    verdict.lines.iter().filter(|line| line.contains(piece)).collect()
}

#[test]
fn two_mistakes_in_two_parts_of_a_result_are_both_named() {
    let verdict = two_in_a_row::GRADE.judge(|segments| {
        let causal = two_in_a_row(&vec![1; segments.len()]).0;
        (causal, (0..segments.len()).collect())
    });
    assert_eq!(lines_with(&verdict, "mask: Your numbers are those").len(), 1, "{verdict:?}");
    assert_eq!(lines_with(&verdict, "positions: Your numbers are those").len(), 1, "{verdict:?}");
    assert_eq!(lines_with(&verdict, "numbers differ").len(), 2, "a difference for each part");
    let only = two_in_a_row::GRADE.judge(|segments| {
        let (mask, positions) = two_in_a_row(segments);
        (mask, positions.iter().map(|position| position + 7).collect())
    });
    assert_eq!((lines_with(&only, "known mistake").len(), only.mistake), (0, None), "{only:?}");
}

#[test]
fn an_error_shows_the_shapes_of_the_inputs_and_leaves_out_the_later_cases() {
    let grade = &lora_merged::GRADE;
    let swapped = grade.judge(|x, w, a, b, alpha| {
        let product = a.matmul(b)?;
        Ok((product, lora_merged(x, w, a, b, alpha)?.1))
    });
    let shapes = "shapes of the inputs: x [2, 4], W [3, 4], A [1, 4], B [3, 1]";
    assert_eq!(lines_with(&swapped, shapes).len(), 1, "{swapped:?}");
    assert_eq!(lines_with(&swapped, "✗").len(), 2, "{swapped:?}");
    assert_eq!(lines_with(&swapped, "✗ 11 more cases").len(), 1, "{swapped:?}");
    assert_eq!(lines_with(&swapped, "This error is that of a known mistake").len(), 1);
    // Another error in all cases is not taken for a known one.
    let other = grade.judge(|x, w, _a, _b, _alpha| {
        let y: Tensor = x.matmul(w)?;
        Ok((w.clone(), y))
    });
    assert_eq!(other.mistake, None, "{other:?}");
}

#[test]
fn a_single_number_is_shown_as_one() {
    let verdict = token_f1::GRADE.judge(|_, _| 0.25);
    let line = "  expected 1, got 0.25 (tolerance 1e-9)".to_string();
    assert!(verdict.lines.contains(&line), "{verdict:?}");
    let verdict = token_f1::GRADE.judge(|_, _| 1. - 2e-9);
    let line = "  expected 1, got 0.999999998 (tolerance 1e-9)".to_string();
    assert!(verdict.lines.contains(&line), "both would be 1: {verdict:?}");
    let verdict = token_f1::GRADE.judge(|_, _| f64::NAN);
    assert!(verdict.lines.contains(&"  expected 1, your number is NaN".to_string()), "{verdict:?}");
}
