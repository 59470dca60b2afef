//! 6.5 Two examples in a row (fill in, 15 minutes, ●●○)
//!
//! Instead of padding, several examples share a row. Each token has a segment: the number of its
//! example, from 1; 0 is padding. Loss and gradient are those of each example alone if two things
//! hold: a token attends only to itself and to earlier tokens of its own segment, and positions
//! begin at 0 in each segment. Return both: the mask (T, T), 0 where attention is allowed and −∞
//! elsewhere, and the positions. Padding attends to itself alone, and its position is 0.
//!
//! Hint: On paper, for the segments 1 1 2 0: which of the 16 cells are 0, and what are the four
//! positions?
//! Hint: Note where the present segment began: `start` becomes i where `segments[i]` differs from
//! `segments[i - 1]`, and the position is `i - start`. Padding needs a case of its own in both.
//! Hint: `mask[i][j] = 0.` for each j ≤ i with
//! `j == i || (segments[i] != 0 && segments[i] == segments[j])`. Without j = i a row of padding
//! would be −∞ alone, and its softmax NaN.
//! Read: crates/part_3_modern/src/attention_context.rs: pub fn packed
//! Read: book/src/06_answering.md: ## The mask: learn to answer, not to ask

/// Mask, row by row, and positions of a row whose tokens have these `segments`.
pub fn two_in_a_row(segments: &[u32]) -> (Vec<Vec<f64>>, Vec<usize>) {
    let t = segments.len();
    let mut mask = vec![vec![f64::NEG_INFINITY; t]; t];
    let mut positions = vec![0; t];
    // SOLUTION: 10 lines: who sees whom, and where each segment begins
    let mut start = 0;
    for i in 0..t {
        if i > 0 && segments[i] != segments[i - 1] {
            start = i;
        }
        positions[i] = if segments[i] == 0 { 0 } else { i - start };
        for j in 0..=i {
            if j == i || (segments[i] != 0 && segments[i] == segments[j]) {
                mask[i][j] = 0.;
            }
        }
    }
    // END
    (mask, positions)
}

// GRADE

use crate::grading::{Answers, Fill, Wrong};

type Packed = fn(&[u32]) -> (Vec<Vec<f64>>, Vec<usize>);

/// Grader. The reference asks each pair of places.
pub const GRADE: Fill<Packed> = Fill {
    cases,
    reference: |segments| {
        let t = segments.len();
        let first = |segment: u32| segments.iter().position(|other| *other == segment);
        let sees =
            |i: usize, j: usize| i == j || (j < i && segments[i] > 0 && segments[i] == segments[j]);
        let cell = |i, j| if sees(i, j) { 0. } else { f64::NEG_INFINITY };
        let mask = (0..t).map(|i| (0..t).map(|j| cell(i, j)).collect()).collect();
        let position = |i: usize| match segments[i] {
            0 => 0,
            segment => i - first(segment).unwrap_or_default(),
        };
        (mask, (0..t).map(position).collect())
    },
    tolerance: 0.,
    wrong: &[
        Wrong {
            f: |segments| (two_in_a_row(&vec![1; segments.len()]).0, two_in_a_row(segments).1),
            says: "the mask is causal only: an example reads the one before it",
            read: "",
        },
        Wrong {
            f: |segments| {
                let (mut mask, positions) = two_in_a_row(segments);
                for i in 0..segments.len() {
                    for j in (0..i).filter(|&j| segments[i] > 0 && segments[j] > 0) {
                        mask[i][j] = 0.;
                    }
                }
                (mask, positions)
            },
            says: "the mask keeps padding apart, but an example reads the one before it",
            read: "",
        },
        Wrong {
            f: |segments| (two_in_a_row(segments).0, (0..segments.len()).collect()),
            says: "positions run on; each example begins at 0",
            read: "",
        },
        Wrong {
            f: |segments| {
                let position = |i: usize| if segments[i] == 0 { 0 } else { i };
                (two_in_a_row(segments).0, (0..segments.len()).map(position).collect())
            },
            says: "positions run on from one example to the next; each begins at 0",
            read: "",
        },
        Wrong {
            f: |segments| {
                let (mask, mut positions) = two_in_a_row(segments);
                for i in (1..segments.len()).filter(|&i| segments[i] == 0) {
                    positions[i] = positions[i - 1] + 1;
                }
                (mask, positions)
            },
            says: "positions of padding count on from the last example; they are 0",
            read: "",
        },
        Wrong {
            f: |segments| {
                let (mask, mut positions) = two_in_a_row(segments);
                for i in (1..segments.len()).filter(|&i| segments[i] == 0 && segments[i - 1] == 0) {
                    positions[i] = positions[i - 1] + 1;
                }
                (mask, positions)
            },
            says: "positions of padding are counted like those of an example; they are 0",
            read: "",
        },
        Wrong {
            f: |segments| {
                let (mask, mut positions) = two_in_a_row(segments);
                for i in (0..segments.len()).filter(|&i| segments[i] > 0) {
                    positions[i] += 1;
                }
                (mask, positions)
            },
            says: "positions begin at 1; the first of an example is 0",
            read: "",
        },
        Wrong {
            f: |segments| {
                let before = |i: usize| segments[i - 1];
                let begins = (0..segments.len()).filter(|&i| segments[i] != before(i)).count();
                (two_in_a_row(segments).0, vec![begins; segments.len()])
            },
            says: "at i = 0 there is no `segments[i - 1]`; the first token begins a segment anyway",
            read: "",
        },
        Wrong {
            f: |segments| {
                let (mut mask, positions) = two_in_a_row(segments);
                for (i, row) in mask.iter_mut().enumerate().filter(|(i, _)| segments[*i] == 0) {
                    row[i] = f64::NEG_INFINITY;
                }
                (mask, positions)
            },
            says: "padding may attend to nothing, and a softmax over nothing is NaN",
            read: "",
        },
        Wrong {
            f: |segments| {
                let (mut mask, mut positions) = two_in_a_row(segments);
                for i in 1..segments.len() {
                    for j in (0..i).filter(|&j| segments[i] == 0 && segments[j] == 0) {
                        (mask[i][j], positions[i]) = (0., positions[i - 1] + 1);
                    }
                }
                (mask, positions)
            },
            says: "0 is not a segment: a token of padding attends to itself alone, at position 0",
            read: "",
        },
        Wrong {
            f: |segments| {
                let (mut mask, positions) = two_in_a_row(segments);
                for i in 1..segments.len() {
                    for j in (0..i).filter(|&j| segments[i] == 0 && segments[j] == 0) {
                        mask[i][j] = 0.;
                    }
                }
                (mask, positions)
            },
            says: "padding attends to padding, as if 0 were a segment; it attends to itself alone",
            read: "",
        },
        Wrong {
            f: |segments| {
                let (mut mask, positions) = two_in_a_row(segments);
                (0..segments.len()).for_each(|i| mask[i][i] = f64::NEG_INFINITY);
                (mask, positions)
            },
            says: "a token does not see itself; j = i is allowed",
            read: "",
        },
        Wrong {
            f: |segments| {
                let (mut mask, positions) = two_in_a_row(segments);
                for i in 0..segments.len() {
                    for j in i + 1..segments.len() {
                        if segments[i] == segments[j] && segments[i] > 0 {
                            mask[i][j] = 0.;
                        }
                    }
                }
                (mask, positions)
            },
            says: "within an example a token sees its future",
            read: "crates/part_1_attention/src/head.rs: pub fn causal_mask",
        },
    ],
};

fn cases(f: Packed, answers: &mut Answers) {
    for segments in [&[1, 1, 1][..], &[1, 1, 2, 2, 2], &[1, 2, 2, 3, 0, 0]] {
        answers.part("mask").record(format!("mask of {segments:?}"), || Ok(f(segments).0));
        answers.part("positions").record(format!("positions of {segments:?}"), || {
            Ok(f(segments).1.into_iter().map(|position| position as f64).collect::<Vec<_>>())
        });
    }
}
