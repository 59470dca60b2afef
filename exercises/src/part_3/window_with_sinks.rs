//! 3.12 A window with sinks (fill in, 10 minutes, ●●○)
//!
//! Who may attend to whom: a token to the last `window` tokens, itself among them, and to the first
//! `sinks` tokens of the text for ever. Without the sinks, weights that have nowhere to go fall on
//! words that were not meant. Return the mask of `t` tokens, `true` where row may attend to column.
//!
//! Hint: Three conditions: not the future, and then near *or* a sink.
//! Hint: Row i with a window of 1 sees itself alone: `i - j < window`.
//! Hint: `j <= i && (i - j < window || j < sinks)`
//! Read: crates/part_3_modern/src/sliding_window.rs: pub fn can_attend
//! Read: book/src/03_modern.md: ## Windows and sinks

/// Mask of `t` tokens, row by row.
pub fn window_with_sinks(t: usize, window: usize, sinks: usize) -> Vec<Vec<bool>> {
    // SOLUTION: 2 lines: not the future, and near or a sink
    let sees = |i: usize, j: usize| j <= i && (i - j < window || j < sinks);
    (0..t).map(|i| (0..t).map(|j| sees(i, j)).collect()).collect()
    // END
}

// GRADE

use model_io::config::SlidingWindow;
use modern::sliding_window::can_attend;

use crate::grading::{Answers, Fill, Wrong};

type Mask = fn(usize, usize, usize) -> Vec<Vec<bool>>;

/// Grader. The reference is part 3's.
pub const GRADE: Fill<Mask> = Fill {
    cases,
    reference: |t, size, sinks| mask(t, |i, j| can_attend(SlidingWindow { size, sinks }, i, j)),
    tolerance: 0.,
    wrong: &[
        Wrong {
            f: |t, window, sinks| mask(t, |i, j| j <= i && (i - j <= window || j < sinks)),
            says: "the window is one too wide: the token itself is one of the last `window`",
            read: "",
        },
        Wrong {
            f: |t, window, _| mask(t, |i, j| j <= i && i - j < window),
            says: "the sinks leave with the window",
            read: "book/src/03_modern.md: ## Windows and sinks",
        },
        Wrong {
            f: |t, window, sinks| mask(t, |i, j| (j <= i && i - j < window) || j < sinks),
            says: "a sink is seen from before it: the future leaks",
            read: "",
        },
        Wrong {
            f: |t, window, sinks| {
                mask(t, |i, j| j <= i && (i - j < window.saturating_sub(sinks) || j < sinks))
            },
            says: "the sinks take room of the window; they come on top of it",
            read: "",
        },
    ],
};

fn mask(t: usize, sees: impl Fn(usize, usize) -> bool) -> Vec<Vec<bool>> {
    (0..t).map(|i| (0..t).map(|j| sees(i, j)).collect()).collect()
}

fn cases(f: Mask, answers: &mut Answers) {
    for (t, window, sinks) in [(4, 9, 0), (5, 1, 0), (6, 2, 1), (9, 4, 2)] {
        answers.record(format!("{t} tokens, window {window}, {sinks} sinks"), || {
            let ones = |row: Vec<bool>| -> Vec<f64> {
                row.into_iter().map(|sees| f64::from(u8::from(sees))).collect()
            };
            Ok(f(t, window, sinks).into_iter().map(ones).collect::<Vec<_>>())
        });
    }
}
