//! 3.1 RMSNorm (fill in, 8 minutes, ●○○)
//!
//! A layer norm without mean and bias:
//!
//!     y = x / √(mean(x²) + ε) · weight        the mean runs over the channels
//!
//! Hint: `sqr()` squares each element; `mean_keepdim(D::Minus1)` is (.., 1).
//! Hint: `broadcast_div` divides (.., C) by (.., 1), `broadcast_mul` multiplies with (C).
//! Hint: `x.broadcast_div(&(x.sqr()?.mean_keepdim(D::Minus1)? + eps)?.sqrt()?)?
//! .broadcast_mul(weight)`
//! Read: crates/part_3_modern/src/rms_norm.rs: pub fn rms_norm
//! Read: book/src/03_modern.md: ## RMSNorm: leave out what does not help

use candle_core::{D, Result, Tensor};

/// RMSNorm of `x: (.., C)`, scaled by `weight: (C)`.
pub fn rms_norm(x: &Tensor, weight: &Tensor, eps: f64) -> Result<Tensor> {
    // SOLUTION: 2 lines: the mean square, then the quotient and the weight
    let mean_square = x.sqr()?.mean_keepdim(D::Minus1)?; // (.., 1)
    x.broadcast_div(&(mean_square + eps)?.sqrt()?)?.broadcast_mul(weight)
    // END
}

// GRADE

use crate::grading::{Answers, Fill, Wrong};

type Norm = fn(&Tensor, &Tensor, f64) -> Result<Tensor>;

/// Grader. The reference is the fused operation.
pub const GRADE: Fill<Norm> = Fill {
    cases,
    reference: tensor_core::ops::rms_norm,
    tolerance: 1e-6,
    wrong: &[
        Wrong {
            f: |x, weight, eps| {
                let size = x.sqr()?.mean_keepdim(D::Minus1)?.sqrt()?;
                x.broadcast_div(&(size + eps)?)?.broadcast_mul(weight)
            },
            says: "ε is added to the root; it belongs inside",
            read: "",
        },
        Wrong {
            f: |x, weight, eps| {
                let sum = x.sqr()?.sum_keepdim(D::Minus1)?;
                x.broadcast_div(&(sum + eps)?.sqrt()?)?.broadcast_mul(weight)
            },
            says: "it divides by the norm; the mean of the squares is asked, not their sum",
            read: "",
        },
        Wrong {
            f: |x, weight, eps| {
                rms_norm(&x.broadcast_sub(&x.mean_keepdim(D::Minus1)?)?, weight, eps)
            },
            says: "the mean is subtracted, as in a layer norm",
            read: "crates/part_2_tiny_gpt/src/layer_norm.rs: pub fn layer_norm",
        },
        Wrong {
            f: |x, weight, eps| rms_norm(x, &weight.ones_like()?, eps),
            says: "the weight is missing",
            read: "",
        },
        Wrong {
            f: |x, weight, eps| {
                let mean_square = (x.sqr()?.mean_keepdim(D::Minus1)? + eps)?;
                x.broadcast_div(&mean_square)?.broadcast_mul(weight)
            },
            says: "the root is missing",
            read: "",
        },
        Wrong {
            f: |x, weight, eps| {
                let mean_square = x.sqr()?.mean_keepdim(0)?;
                x.broadcast_div(&(mean_square + eps)?.sqrt()?)?.broadcast_mul(weight)
            },
            says: "the mean runs over the first dimension; the channels are the last",
            read: "",
        },
    ],
};

fn cases(f: Norm, answers: &mut Answers) {
    for shape in [&[1, 4][..], &[2, 3, 6]] {
        let x = answers.normal(shape);
        let weight = answers.normal(&shape[shape.len() - 1..]);
        answers.inputs(&[("x", &x), ("weight", &weight)]);
        answers.record(format!("values, shape {shape:?}"), || f(&x, &weight, 1e-5));
        answers.record(format!("small numbers, where ε counts, shape {shape:?}"), || {
            f(&(&x * 1e-3)?, &weight, 1e-5)
        });
        answers.gradient(format!("gradient, shape {shape:?}"), &x, |x| f(x, &weight, 1e-5));
    }
}
