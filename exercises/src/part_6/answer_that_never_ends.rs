//! 6.2 An answer that never ends (find the bug, 8 minutes, ●●○)
//!
//! Many tokenizers have no padding token, so the end token pads. With these labels the model
//! writes a right answer and then goes on and on. Three lines at most.
//!
//! Hint: Which labels are set to −100 here, and which of them should be learned?
//! Hint: A real end token and one of padding have the same value, and a text may have two real ones
//! in a row. So the value of an id says nothing. What does?
//! Hint: Compare the place of the label, t + 1, with the length, and not the id with `pad`: padding
//! is `t + 1 >= len`.
//! Read: crates/part_6_sft/src/batch.rs: Padding on the right
//! Read: book/src/06_answering.md: ## The mask: learn to answer, not to ask

/// Labels of a row `ids`, padded with `pad`, of which the first `len` are the example, its end
/// included. Label t is the id at t + 1, or −100 at padding.
pub fn answer_that_never_ends(ids: &[u32], len: usize, pad: u32) -> Vec<i64> {
    let mut labels = Vec::new();
    for t in 0..ids.len() - 1 {
        let next = ids[t + 1];
        // BUG
        let is_padding = t + 1 >= len;
        //| let is_padding = next == pad;
        // END
        labels.push(if is_padding { -100 } else { i64::from(next) });
    }
    let _ = (len, pad); // one of them is enough
    labels
}

// GRADE

use crate::grading::{Answers, Fill, Wrong};

type Labels = fn(&[u32], usize, u32) -> Vec<i64>;

/// Grader. The reference cuts the row off.
pub const GRADE: Fill<Labels> = Fill {
    cases,
    reference: |ids, len, _pad| {
        let real = ids[1..len].iter().map(|id| i64::from(*id));
        real.chain(std::iter::repeat_n(-100, ids.len() - len)).collect()
    },
    tolerance: 0.,
    wrong: &[
        Wrong {
            f: |ids, _len, _pad| ids[1..].iter().map(|id| i64::from(*id)).collect(),
            says: "padding is learned: the model spends its loss on ends after ends",
            read: "",
        },
        Wrong {
            f: |ids, len, pad| answer_that_never_ends(ids, len + 1, pad),
            says: "one token of padding is learned",
            read: "",
        },
        Wrong {
            f: |ids, len, pad| answer_that_never_ends(ids, len - 1, pad),
            says: "the end of the example is masked, too: `len` includes it",
            read: "",
        },
        Wrong {
            f: |ids, _len, pad| {
                let is_padding = |t: usize| ids[t] == pad && ids[t + 1] == pad;
                by_place(ids, is_padding)
            },
            says: "an end behind an end is taken for padding: the text may have two in a row, so \
                   the place decides, not the value",
            read: "",
        },
        Wrong {
            f: |ids, _len, pad| {
                let is_padding = |t: usize| ids[t..].iter().all(|id| *id == pad);
                by_place(ids, is_padding)
            },
            says: "all ends but the first of the last run are taken for padding: the example may \
                   have two ends there, and only `len` says how many",
            read: "",
        },
        Wrong {
            f: |ids, _len, pad| {
                let first = ids.iter().position(|id| *id == pad).unwrap_or(ids.len());
                by_place(ids, |t| t + 1 > first)
            },
            says: "the example is over at its first end token; the text may have one inside",
            read: "",
        },
    ],
};

/// Labels of `ids`, or −100 where `is_padding` says so of a place.
fn by_place(ids: &[u32], is_padding: impl Fn(usize) -> bool) -> Vec<i64> {
    let label = |t: usize| if is_padding(t) { -100 } else { i64::from(ids[t + 1]) };
    (0..ids.len() - 1).map(label).collect()
}

fn cases(f: Labels, answers: &mut Answers) {
    let end = 2;
    for (label, ids, len) in [
        ("no padding", vec![11, 12, end], 3),
        ("two of padding", vec![11, 12, end, end, end], 3),
        ("an end inside", vec![11, end, 12, end, end, end], 4),
        ("two ends in a row inside", vec![5, end, end, 7, end, end, end], 5),
        ("two ends in a row as its last", vec![5, 7, end, end, end, end], 4),
    ] {
        answers.record(label, || {
            Ok(f(&ids, len, end).into_iter().map(|label| label as f64).collect::<Vec<_>>())
        });
    }
}
