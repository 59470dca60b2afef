//! 0.4 Right for one step (find the bug, 8 minutes, ●○○)
//!
//! A recurrent network reads x[0], x[1], ... with the same two weights at every step:
//!
//!     h[t] = tanh(w x[t] + u h[t − 1])        h[−1] = 0,  the output is the last h
//!
//! The function below gives the output and its derivatives by w and u. For one step they are right,
//! for more they are not. Change three lines at most.
//!
//! Hint: With one step every weight is used once. What is different with two?
//! Hint: The derivative by a weight that is used T times is a sum of T terms.
//! Hint: `by_w = slope * x[t]` forgets what the later steps gave; so does the line below it.
//! Read: crates/tensor_core/src/graph/backward.rs: pub fn backward
//! Read: book/src/00_before.md: ## Gradients of everything: autodiff in 100 lines

/// Output of the network on `x`, and its derivatives by `w` and `u`.
pub fn right_for_one_step(x: &[f64], w: f64, u: f64) -> (f64, f64, f64) {
    let mut h = vec![0.]; // h[t + 1] is the state after x[t]
    for t in 0..x.len() {
        h.push((w * x[t] + u * h[t]).tanh());
    }
    let (mut by_h, mut by_w, mut by_u) = (1., 0., 0.);
    for t in (0..x.len()).rev() {
        let slope = by_h * (1. - h[t + 1] * h[t + 1]); // of the argument of tanh
        // BUG
        by_w += slope * x[t];
        by_u += slope * h[t];
        //| by_w = slope * x[t];
        //| by_u = slope * h[t];
        // END
        by_h = slope * u;
    }
    (h[x.len()], by_w, by_u)
}

// GRADE

use crate::grading::{Answers, Fill, Wrong};

type Rnn = fn(&[f64], f64, f64) -> (f64, f64, f64);

/// Grader. The reference is the total derivative, computed forwards.
pub const GRADE: Fill<Rnn> = Fill {
    cases,
    reference: |x, w, u| {
        let (mut h, mut by_w, mut by_u) = (0., 0., 0.);
        for x in x {
            let new: f64 = (w * x + u * h).tanh();
            let slope = 1. - new * new;
            (by_w, by_u) = (slope * (x + u * by_w), slope * (h + u * by_u));
            h = new;
        }
        (h, by_w, by_u)
    },
    tolerance: 1e-9,
    wrong: &[Wrong {
        f: |x, w, u| {
            let (h, by_w, by_u) = right_for_one_step(x, w, u);
            (h, by_w / x.len() as f64, by_u / x.len() as f64)
        },
        says: "the terms of the steps are averaged; they are added",
        read: "",
    }],
};

fn cases(f: Rnn, answers: &mut Answers) {
    for n in 1..6 {
        let x: Vec<f64> = (0..n).map(|_| answers.rng().normal()).collect();
        let (w, u) = (0.8, -0.6);
        answers.record(format!("{n} steps: output, by w, by u"), || {
            let (h, by_w, by_u) = f(&x, w, u);
            Ok([h, by_w, by_u])
        });
    }
}
