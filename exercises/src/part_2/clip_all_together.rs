//! 2.7 Clip all together (fill in, 10 minutes, ●○○)
//!
//! A rare batch has a gradient many times larger than usual. Clipping shortens it: if the norm of
//! all gradients together, √Σ g², is above `max_norm`, all are multiplied by max_norm / norm. The
//! direction stays; small gradients stay as they are. Return the clipped gradients and the norm
//! before.
//!
//! Hint: One norm for all tensors: add their sums of squares before the root.
//! Hint: `grad.sqr()?.sum_all()?.to_scalar::<f64>()?` is the sum of squares of a tensor.
//! Hint: The factor is `(max_norm / norm).min(1.)`, so that nothing grows.
//! Read: crates/part_2_tiny_gpt/src/gradient_clipping.rs: pub fn clip_grad_norm
//! Read: book/src/02_tiny_gpt.md: ## Clipping

use candle_core::{Result, Tensor};

/// Clipped `grads`, and their common norm before.
pub fn clip_all_together(grads: &[Tensor], max_norm: f64) -> Result<(Vec<Tensor>, f64)> {
    // SOLUTION: 7 lines: the norm of all, then the factor for all
    let mut sum = 0.;
    for grad in grads {
        sum += grad.sqr()?.sum_all()?.to_scalar::<f64>()?;
    }
    let norm = sum.sqrt();
    let factor = (max_norm / norm).min(1.);
    Ok((grads.iter().map(|grad| grad * factor).collect::<Result<_>>()?, norm))
    // END
}

// GRADE

use crate::grading::{Answers, Fill, Wrong};

type Clip = fn(&[Tensor], f64) -> Result<(Vec<Tensor>, f64)>;

/// Grader. The reference is part 2's.
pub const GRADE: Fill<Clip> = Fill {
    cases,
    reference: tiny_gpt::gradient_clipping::clip_grad_norm,
    tolerance: 1e-6,
    wrong: &[
        Wrong {
            f: |grads, max_norm| {
                let alone = |grad: &Tensor| {
                    Ok(clip_all_together(std::slice::from_ref(grad), max_norm)?.0.remove(0))
                };
                let clipped = grads.iter().map(alone).collect::<Result<_>>()?;
                Ok((clipped, clip_all_together(grads, max_norm)?.1))
            },
            says: "each tensor is clipped by its own norm, which turns the direction",
            read: "",
        },
        Wrong {
            f: |grads, max_norm| {
                let clamped = grads.iter().map(|grad| grad.clamp(-max_norm, max_norm));
                Ok((clamped.collect::<Result<_>>()?, clip_all_together(grads, max_norm)?.1))
            },
            says: "single numbers are cut off at max_norm; the norm of all is to be limited",
            read: "",
        },
        Wrong {
            f: |grads, max_norm| {
                let norm = clip_all_together(grads, max_norm)?.1;
                let scaled = grads.iter().map(|grad| grad * (max_norm / norm));
                Ok((scaled.collect::<Result<_>>()?, norm))
            },
            says: "small gradients are made larger; the factor is at most 1",
            read: "",
        },
        Wrong {
            f: |grads, max_norm| {
                let mut norm = 0.;
                for grad in grads {
                    norm += grad.sqr()?.sum_all()?.to_scalar::<f64>()?.sqrt();
                }
                let factor = (max_norm / norm).min(1.);
                Ok((grads.iter().map(|grad| grad * factor).collect::<Result<_>>()?, norm))
            },
            says: "norms are added; it is their squares that add up",
            read: "",
        },
        Wrong {
            f: |grads, max_norm| {
                let (clipped, norm) = clip_all_together(grads, max_norm)?;
                Ok((clipped, norm.min(max_norm)))
            },
            says: "the norm is that after clipping; it is to be that before",
            read: "",
        },
        Wrong {
            f: |grads, max_norm| {
                let squared = clip_all_together(grads, max_norm)?.1.powi(2);
                let factor = (max_norm / squared).min(1.);
                let clipped = grads.iter().map(|grad| grad * factor);
                Ok((clipped.collect::<Result<_>>()?, squared))
            },
            says: "the root of the sum of squares is missing",
            read: "",
        },
    ],
};

fn cases(f: Clip, answers: &mut Answers) {
    for (label, scale) in [("large gradients", 3.), ("small gradients", 0.01)] {
        let grads = [answers.normal(&[3, 2]), answers.normal(&[4])];
        let grads = grads.map(|grad| (grad * scale).expect("a product"));
        answers.part("norm").record(format!("norm of {label}"), || Ok(f(&grads, 1.)?.1));
        answers.part("gradients");
        for i in 0..2 {
            answers.record(format!("{label}, tensor {}", i + 1), || Ok(f(&grads, 1.)?.0.remove(i)));
        }
    }
}
