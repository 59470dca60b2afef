//! 0.2 Log-softmax that survives 10,000 (fill in, 10 minutes, ●○○)
//!
//! A model gives a logit x[i] for each token. Their log-probabilities are
//!
//!     log_softmax(x)[i] = x[i] − log Σ exp(x[j])        over the last dimension
//!
//! exp(10,000) is infinite, and infinity minus infinity is NaN. Subtract the largest logit first:
//! the log-probabilities do not change, because the same number leaves x[i] and the logarithm.
//!
//! Hint: `max_keepdim(D::Minus1)` keeps the dimension with size 1, so that `broadcast_sub` fits.
//! Hint: After the subtraction the largest logit is 0, so the sum of exponentials is at least 1 and
//! its logarithm is finite.
//! Hint: `let shifted = logits.broadcast_sub(&logits.max_keepdim(D::Minus1)?)?;` and then subtract
//! from `shifted` the logarithm of `shifted.exp()?.sum_keepdim(D::Minus1)?`.
//! Read: crates/part_2_tiny_gpt/src/cross_entropy.rs: pub fn log_softmax
//! Read: book/src/00_before.md: ## Softmax: from scores to probabilities

use candle_core::{D, Result, Tensor};

/// Log-probabilities of `logits: (.., V)`, of the same shape.
pub fn log_softmax(logits: &Tensor) -> Result<Tensor> {
    // SOLUTION: 2 lines: shift by the largest logit, subtract the log of the sum of exponentials
    let shifted = logits.broadcast_sub(&logits.max_keepdim(D::Minus1)?)?; // (.., V)
    shifted.broadcast_sub(&shifted.exp()?.sum_keepdim(D::Minus1)?.log()?)
    // END
}

// GRADE

use crate::grading::{Answers, Fill, Wrong};

type LogSoftmax = fn(&Tensor) -> Result<Tensor>;

/// Grader.
pub const GRADE: Fill<LogSoftmax> = Fill {
    cases,
    reference: tensor_core::ops::log_softmax,
    tolerance: 1e-6,
    wrong: &[
        Wrong {
            f: |x| x.broadcast_sub(&x.exp()?.sum_keepdim(D::Minus1)?.log()?),
            says: "the largest logit is not subtracted, so exp(10,000) is infinite",
            read: "",
        },
        Wrong {
            f: |x| softmax(x, D::Minus1),
            says: "these are probabilities; the logarithm is missing",
            read: "",
        },
        Wrong {
            f: |x| {
                let shifted = x.broadcast_sub(&x.max_keepdim(0)?)?;
                shifted.broadcast_sub(&shifted.exp()?.sum_keepdim(0)?.log()?)
            },
            says: "the sum runs over the first dimension; the vocabulary is the last",
            read: "",
        },
        Wrong {
            f: |x| {
                let shifted = x.broadcast_sub(&x.max_keepdim(D::Minus1)?)?;
                x.broadcast_sub(&shifted.exp()?.sum_keepdim(D::Minus1)?.log()?)
            },
            says: "the largest logit is subtracted inside the logarithm, and not from x[i]",
            read: "",
        },
        Wrong {
            f: |x| {
                let shifted = x.broadcast_sub(&x.max_keepdim(D::Minus1)?)?;
                shifted.broadcast_sub(&shifted.exp()?.mean_keepdim(D::Minus1)?.log()?)
            },
            says: "the logarithm is that of a mean; it is that of a sum",
            read: "",
        },
    ],
};

fn softmax(x: &Tensor, dim: D) -> Result<Tensor> {
    let exp = x.broadcast_sub(&x.max_keepdim(dim)?)?.exp()?;
    exp.broadcast_div(&exp.sum_keepdim(dim)?)
}

fn cases(f: LogSoftmax, answers: &mut Answers) {
    for shape in [&[1, 5][..], &[3, 4], &[2, 3, 7]] {
        let x = answers.normal(shape);
        answers.record(format!("values, shape {shape:?}"), || f(&x));
        answers.gradient(format!("gradient, shape {shape:?}"), &x, f);
    }
    let x = answers.normal(&[2, 3]);
    answers.record("1,000 added to all logits", || f(&(&x + 1000.)?));
    answers.record("logits of 10,000 and −10,000", || {
        f(&Tensor::new(&[[1e4, 0., -1e4]], &candle_core::Device::Cpu)?)
    });
}
