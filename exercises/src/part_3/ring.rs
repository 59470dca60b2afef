//! 3.11 The ring (fill in, 15 minutes, ●●○)
//!
//! A cache of fixed size for a text without end: the first `sinks` tokens stay for ever, and behind
//! them the last `window` ones. A new token takes the slot of the oldest that is no sink. Return
//! which position each slot holds after `n` tokens, in the order of the slots: the sinks, then the
//! ring.
//!
//! Hint: Token p < sinks goes to slot p. All others go round in `window` slots behind the sinks.
//! Hint: Token p ≥ sinks goes to slot sinks + (p − sinks) mod window.
//! Hint: `let slot = if p < sinks { p } else { sinks + (p - sinks) % window };` and then push if
//! the slot is new, else replace.
//! Read: crates/part_3_modern/src/rolling_cache.rs: pub fn extend
//! Read: book/src/03_modern.md: ## Windows and sinks

/// Positions in the slots after `n` tokens.
pub fn ring(n: usize, window: usize, sinks: usize) -> Vec<usize> {
    let mut slots = Vec::new();
    // SOLUTION: 7 lines: the slot of each token, which is new or replaced
    for p in 0..n {
        let slot = if p < sinks { p } else { sinks + (p - sinks) % window };
        match slots.get_mut(slot) {
            Some(held) => *held = p,
            None => slots.push(p),
        }
    }
    // END
    slots
}

// GRADE

use crate::grading::{Answers, Fill, Wrong};

type Ring = fn(usize, usize, usize) -> Vec<usize>;

/// Grader. The reference asks for each slot which token came last.
pub const GRADE: Fill<Ring> = Fill {
    cases,
    reference: |n, window, sinks| {
        let last_in = |slot: usize| {
            if slot < sinks {
                return slot;
            }
            (0..n).rev().find(|p| *p >= sinks && (p - sinks) % window == slot - sinks).unwrap_or(0)
        };
        (0..n.min(window + sinks)).map(last_in).collect()
    },
    tolerance: 0.,
    wrong: &[
        Wrong {
            f: |n, window, sinks| (n.saturating_sub(window + sinks)..n).collect(),
            says: "the sinks are not kept: only the last tokens are",
            read: "",
        },
        Wrong {
            f: |n, window, sinks| {
                let mut slots = Vec::new();
                for p in 0..n {
                    let slot = if p < sinks { p } else { sinks + p % window };
                    match slots.get_mut(slot) {
                        Some(held) => *held = p,
                        None => slots.push(p),
                    }
                }
                slots
            },
            says: "the ring counts from position 0; its first token is the one behind the sinks",
            read: "",
        },
        Wrong {
            f: |n, window, sinks| {
                let recent = n.saturating_sub(window).max(sinks)..n;
                (0..sinks.min(n)).chain(recent).collect()
            },
            says: "the right tokens, in order of age: a ring moves nothing, the new one takes the \
                   oldest's slot",
            read: "",
        },
        Wrong {
            f: |n, window, sinks| ring(n, window - sinks, sinks),
            says: "the sinks are taken out of the window; they come on top of it",
            read: "",
        },
    ],
};

fn cases(f: Ring, answers: &mut Answers) {
    for (n, window, sinks) in [(3, 4, 2), (6, 4, 2), (7, 4, 2), (13, 5, 1), (1000, 7, 4)] {
        let label = format!("{n} tokens, window {window}, {sinks} sinks");
        answers.record(label, || {
            Ok(f(n, window, sinks).into_iter().map(|p| p as f64).collect::<Vec<_>>())
        });
    }
}
