//! Arithmetic task: the splits are disjoint, and the answers are right.

use std::collections::BTreeSet;

use anyhow::Result;
use tensor_core::testing::assert_close;

use crate::Split;
use crate::arithmetic::{ArithmeticProblem, Operation, ProblemSet};
use crate::arithmetic_questions::{
    ArithmeticQuestion, DemonstrationStyle, demonstrations, one_digit_questions, questions,
    write_math_tasks,
};

const SPLITS: [Split; 3] = [Split::Train, Split::Validation, Split::Test];

#[test]
fn splits_are_disjoint_and_cover_all_problems() {
    for (set, all) in
        [(ProblemSet::Sums, 100 * 101 / 2 + 100 * 100), (ProblemSet::Products, 13 * 14 / 2)]
    {
        let keys = SPLITS.map(|split| {
            set.problems(split)
                .into_iter()
                .map(ArithmeticProblem::canonical)
                .collect::<BTreeSet<ArithmeticProblem>>()
        });
        for (a, b) in [(0, 1), (0, 2), (1, 2)] {
            assert!(keys[a].is_disjoint(&keys[b]), "{set:?}: {:?} and {:?}", SPLITS[a], SPLITS[b]);
        }
        assert_eq!(keys.iter().map(BTreeSet::len).sum::<usize>(), all);
    }
}

#[test]
fn one_digit_questions_are_split_without_a_question_in_two_splits() {
    let texts = SPLITS.map(|split| {
        let questions = one_digit_questions(split).into_iter();
        questions.map(ArithmeticQuestion::text).collect::<BTreeSet<String>>()
    });
    assert_eq!(texts.each_ref().map(BTreeSet::len), [1600, 300, 500]);
    for (a, b) in [(0, 1), (0, 2), (1, 2)] {
        assert!(texts[a].is_disjoint(&texts[b]), "{:?} and {:?}", SPLITS[a], SPLITS[b]);
    }
    let problems = |split| {
        let questions = one_digit_questions(split).into_iter();
        questions.map(|question| question.problem).collect::<BTreeSet<ArithmeticProblem>>()
    };
    assert_eq!(problems(Split::Train).len(), 200, "each problem is trained in some phrasing");
}

#[test]
fn demonstrations_use_training_problems_only() {
    let held_out: BTreeSet<ArithmeticProblem> = [ProblemSet::Sums, ProblemSet::Products]
        .into_iter()
        .flat_map(|set| [Split::Validation, Split::Test].map(|split| set.problems(split)))
        .flatten()
        .map(ArithmeticProblem::canonical)
        .collect();
    let mut counts = [Operation::Add, Operation::Subtract, Operation::Multiply].map(|one| (one, 0));
    for example in demonstrations(20_000, DemonstrationStyle::Clean, 3) {
        let text = &example.prompt[0].content;
        let problem = parse_question(text);
        assert!(!held_out.contains(&problem.canonical()), "{text}");
        for (operation, n) in &mut counts {
            *n += usize::from(*operation == problem.operation);
        }
    }
    assert!(counts.iter().all(|(_, n)| *n > 1000), "{counts:?}");
}

/// Problem of a question, parsed from its text.
fn parse_question(text: &str) -> ArithmeticProblem {
    let [a, b] = numbers(text)[..] else { panic!("{text}") };
    let (left, operation, right) = match () {
        () if text.starts_with("Take") => (b, Operation::Subtract, a),
        () if text.contains('+') || text.contains("plus") || text.starts_with("Add") => {
            (a, Operation::Add, b)
        }
        () if text.contains(" - ") || text.contains("minus") => (a, Operation::Subtract, b),
        () => (a, Operation::Multiply, b),
    };
    ArithmeticProblem { left, operation, right }
}

fn numbers(text: &str) -> Vec<i64> {
    let numbers = text.split(|c: char| !c.is_ascii_digit()).filter(|word| !word.is_empty());
    numbers.map(|word| word.parse().expect("a number")).collect()
}

#[test]
fn demonstrated_completions_answer_their_questions() {
    // Parsed from the text, independently of the generator.
    for example in demonstrations(3000, DemonstrationStyle::Clean, 1) {
        let text = &example.prompt[0].content;
        let ArithmeticProblem { left, operation, right } = parse_question(text);
        let answer = match operation {
            Operation::Add => left + right,
            Operation::Subtract => left - right,
            Operation::Multiply => left * right,
        };
        assert_eq!(example.completion, answer.to_string(), "{text}");
    }
}

#[test]
fn twelve_phrasings_differ_and_alternate() {
    let problem = ArithmeticProblem { left: 12, operation: Operation::Subtract, right: 7 };
    let texts = (0..ArithmeticQuestion::N_PHRASINGS)
        .map(|phrasing| ArithmeticQuestion { problem, phrasing }.text());
    let texts: BTreeSet<String> = texts.collect();
    assert_eq!(texts.len(), 12);
    assert!(texts.contains("What is 12 - 7? Answer with an integer."));
    assert_eq!(ArithmeticQuestion { problem, phrasing: 0 }.answer(), "5");
    let held_out = questions(ProblemSet::Sums, Split::Test);
    assert_eq!(held_out.len(), 500);
    assert!(held_out.iter().enumerate().all(|(i, question)| question.phrasing == i % 12));
    assert_eq!(held_out, questions(ProblemSet::Sums, Split::Test), "deterministic");
}

#[test]
fn noisy_demonstrations_differ_by_full_stops_only() {
    let (clean, noisy) = (
        demonstrations(4000, DemonstrationStyle::Clean, 5),
        demonstrations(4000, DemonstrationStyle::Noisy, 5),
    );
    let mut stops = 0;
    for (clean, noisy) in clean.iter().zip(&noisy) {
        assert_eq!(clean.prompt, noisy.prompt);
        assert_eq!(clean.completion, noisy.completion.trim_end_matches('.'));
        stops += usize::from(noisy.completion.ends_with('.'));
    }
    let share = stops as f64 / 4000.;
    assert_close(share, 0.8 * 5. / 12., 0.03);
}

#[test]
fn the_files_in_data_are_those_that_part_9_tasks_writes() -> Result<()> {
    let folder = tempfile::tempdir()?;
    write_math_tasks(folder.path())?;
    let data = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../data");
    for name in ["math_tasks_train.jsonl", "math_tasks_eval.jsonl"] {
        let [in_data, written] =
            [&data, folder.path()].map(|folder| std::fs::read_to_string(folder.join(name)));
        assert_eq!(in_data?, written?, "{name}: `part_9 tasks` writes it");
    }
    Ok(())
}
