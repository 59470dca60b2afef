//! 1.5 Softmax backward by hand (fill in, 8 minutes, ●●○)
//!
//! w = softmax(s), row by row. Given the gradient g of a loss by the weights w, return its gradient
//! by the scores s:
//!
//!     ds[i] = w[i] (g[i] − Σ_j w[j] g[j])
//!
//! Raising one score takes weight from all others, so the weighted mean of g is subtracted. The
//! gradient of each row sums to 0.
//!
//! Hint: The sum over j is one number for each row: `sum_keepdim(D::Minus1)`.
//! Hint: `(weights * grad)?.sum_keepdim(D::Minus1)?` is that number, of shape (.., 1).
//! Hint: `weights * grad.broadcast_sub(&(weights * grad)?.sum_keepdim(D::Minus1)?)?`
//! Read: book/src/01_attention.md: ## Why divide by √D
//! Read: crates/part_1_attention/src/by_hand.rs: Softmax: raising one score
//! Read: book/src/00_before.md: ## Gradients of everything: autodiff in 100 lines

use candle_core::{D, Result, Tensor};

/// Gradient by the scores, from the softmax `weights: (.., N)` and the gradient `grad` by them.
pub fn softmax_backward(weights: &Tensor, grad: &Tensor) -> Result<Tensor> {
    // SOLUTION: 2 lines: the weighted mean of each row, and w (g − mean)
    let mean = (weights * grad)?.sum_keepdim(D::Minus1)?; // (.., 1)
    weights * grad.broadcast_sub(&mean)?
    // END
}

// GRADE

use candle_core::Var;
use tensor_core::{backward, ops};

use crate::grading::{Answers, Fill, Wrong};

type Backward = fn(&Tensor, &Tensor) -> Result<Tensor>;

/// Grader. The reference differentiates a softmax whose scores are the logarithms of the weights.
pub const GRADE: Fill<Backward> = Fill {
    cases,
    reference: |weights, grad| {
        let scores = Var::from_tensor(&weights.log()?)?;
        let loss = (ops::softmax(scores.as_tensor())? * grad)?.sum_all()?;
        backward(&loss)?
            .get(scores.as_tensor())
            .cloned()
            .ok_or(candle_core::Error::Msg("a softmax has a gradient".into()))
    },
    tolerance: 1e-6,
    wrong: &[
        Wrong {
            f: |weights, grad| weights * grad,
            says: "each score is taken to move its own weight only; all others move too",
            read: "",
        },
        Wrong {
            f: |weights, grad| (weights * (1. - weights)?)? * grad,
            says: "w (1 − w) is the slope of a single sigmoid; a softmax couples its outputs",
            read: "",
        },
        Wrong {
            f: |weights, grad| weights * grad.broadcast_sub(&grad.mean_keepdim(D::Minus1)?)?,
            says: "the plain mean of g is subtracted; it is the mean weighted by w",
            read: "",
        },
        Wrong {
            f: |weights, grad| weights * grad.broadcast_sub(&(weights * grad)?.sum_keepdim(0)?)?,
            says: "the sum runs over the rows; it runs along each row",
            read: "",
        },
        Wrong {
            f: |weights, grad| {
                weights * grad.broadcast_sub(&(weights * grad)?.mean_keepdim(D::Minus1)?)?
            },
            says: "a mean of w g is subtracted; the weights already sum to 1, so it is the sum",
            read: "",
        },
        Wrong {
            f: |weights, grad| weights * grad.broadcast_sub(&(weights * grad)?.sum_keepdim(1)?)?,
            says: "the sum runs over dimension 1; a row is the last dimension, whatever the shape",
            read: "",
        },
    ],
};

fn cases(f: Backward, answers: &mut Answers) {
    for shape in [&[1, 4][..], &[3, 5], &[2, 3, 3]] {
        let weights = ops::softmax(&answers.normal(shape)).expect("a softmax of numbers");
        let grad = answers.normal(shape);
        answers.record(format!("gradient, shape {shape:?}"), || f(&weights, &grad));
    }
}
