//! 6.1 Labels by place (fill in, 10 minutes, ●○○)
//!
//! An example is the ids of a prompt, of its completion, and of the end token, in one row. The
//! model reads all but the last id; the label at place t is the id at t + 1. Only the completion
//! and the end are to be learned: every other label is −100, which the loss ignores. Return the
//! labels, one per input.
//!
//! Which ids are learned follows from their *place*. The end token may occur in a prompt, too.
//!
//! Hint: There are `ids.len() - 1` labels. Which is the first that belongs to the completion?
//! Hint: The place `prompt_len - 1` reads the last id of the prompt, and its label is the first of
//! the completion: it is learned.
//! Hint: `(1..ids.len()).map(|t| if t >= prompt_len { i64::from(ids[t]) } else { -100 }).collect()`
//! Read: crates/part_6_sft/src/tokenized_example.rs: pub fn labels
//! Read: book/src/06_answering.md: ## The mask: learn to answer, not to ask

/// Labels of `ids`, whose first `prompt_len` are the prompt.
pub fn labels_by_place(ids: &[u32], prompt_len: usize) -> Vec<i64> {
    // SOLUTION: 2 lines: the next id, or −100 where that is still the prompt
    let label = |t: usize| if t >= prompt_len { i64::from(ids[t]) } else { -100 };
    (1..ids.len()).map(label).collect()
    // END
}

// GRADE

use sft::TokenizedExample;

use crate::grading::{Answers, Fill, Wrong};

type Labels = fn(&[u32], usize) -> Vec<i64>;

/// Grader. The reference is part 6's.
pub const GRADE: Fill<Labels> = Fill {
    cases,
    reference: |ids, prompt_len| TokenizedExample::new(ids.to_vec(), prompt_len).labels().collect(),
    tolerance: 0.,
    wrong: &[
        Wrong {
            f: |ids, prompt_len| labels_by_place(ids, prompt_len + 1),
            says: "the first token of the completion is not learned: place prompt_len − 1 predicts \
                   it",
            read: "",
        },
        Wrong {
            f: |ids, prompt_len| labels_by_place(ids, prompt_len - 1),
            says: "the last token of the prompt is learned, one too many",
            read: "",
        },
        Wrong {
            f: |ids, _prompt_len| labels_by_place(ids, 0),
            says: "the prompt is learned, too: nothing is masked",
            read: "",
        },
        Wrong {
            f: |ids, prompt_len| {
                let label = |t: usize| if t >= prompt_len { i64::from(ids[t]) } else { -100 };
                (0..ids.len() - 1).map(label).collect()
            },
            says: "the label is the token itself, not the next one: the loss will fall to 0",
            read: "crates/part_2_tiny_gpt/src/batches.rs: pub fn from_starts",
        },
        Wrong {
            f: |ids, prompt_len| {
                let mut labels = labels_by_place(ids, prompt_len);
                if let Some(last) = labels.last_mut() {
                    *last = -100;
                }
                labels
            },
            says: "the end is masked: such a model never stops",
            read: "",
        },
        Wrong {
            f: |ids, prompt_len| {
                let end = ids[ids.len() - 1];
                let labels = labels_by_place(ids, prompt_len).into_iter().enumerate();
                let is_early_end =
                    |t: usize, label: i64| label == i64::from(end) && t + 2 < ids.len();
                labels.map(|(t, label)| if is_early_end(t, label) { -100 } else { label }).collect()
            },
            says: "labels are chosen by the value of an id; the place decides",
            read: "",
        },
        Wrong {
            f: |ids, prompt_len| {
                let label = |t: usize| if t < prompt_len { i64::from(ids[t]) } else { -100 };
                (1..ids.len()).map(label).collect()
            },
            says: "the mask is inverted: the prompt is learned, and the completion is not",
            read: "",
        },
        Wrong {
            f: |ids, prompt_len| {
                let label = |t: usize| match t + 1 >= prompt_len {
                    true => i64::from(ids[t + 1]),
                    false => -100,
                };
                (0..ids.len()).map(label).collect()
            },
            says: "one label too many: nothing follows the last id, so there are `ids.len() - 1`",
            read: "",
        },
        Wrong {
            f: |ids, prompt_len| {
                let mut labels = labels_by_place(ids, prompt_len);
                labels.push(-100);
                labels
            },
            says: "one label too many: the last id is not an input, so it has none",
            read: "",
        },
        Wrong {
            f: |ids, prompt_len| {
                let label = |t: usize| if t >= prompt_len { i64::from(ids[t]) } else { -100 };
                (0..ids.len()).map(label).collect()
            },
            says: "one label for each id, unshifted, as for transformers, whose loss shifts them; \
                   here the label at place t is the id at t + 1",
            read: "",
        },
        Wrong {
            f: |ids, prompt_len| ids[prompt_len..].iter().map(|id| i64::from(*id)).collect(),
            says: "these are the labels of the completion alone; the prompt's are −100, and stay",
            read: "",
        },
    ],
};

fn cases(f: Labels, answers: &mut Answers) {
    let mut record = |label: &str, ids: &[u32], prompt_len: usize| {
        answers.record(label, || {
            Ok(f(ids, prompt_len).into_iter().map(|label| label as f64).collect::<Vec<_>>())
        });
    };
    record("3 + 2 tokens and the end", &[11, 12, 13, 21, 22, 2], 3);
    record("a completion of one token", &[11, 12, 21, 2], 2);
    record("an empty completion: only the end", &[11, 12, 13, 2], 3);
    record("the end's id within both", &[11, 2, 12, 2, 21, 2, 22, 2], 4);
}
