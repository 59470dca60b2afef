//! 1.9 LayerNorm there and back (fill in, 20 minutes, ●●●)
//!
//! For each token, over its C channels, without weight and bias. The variance is divided by C;
//! candle's `var_keepdim` divides by C − 1.
//!
//!     y = (x − mean) / √(variance + ε)        variance = mean of (x − mean)²
//!
//! and, for the gradient g of a loss by y, the gradient by x:
//!
//!     dx = (g − mean(g) − y · mean(g y)) / √(variance + ε)
//!
//! The two means take away what the norm itself does not see: a shift of all channels, and their
//! scale.
//!
//! Hint: `mean_keepdim(D::Minus1)` is the mean over the channels, of shape (.., 1).
//! Hint: `let inverse = (variance + eps)?.sqrt()?.recip()?;` serves both ways.
//! Hint: `(grad.broadcast_sub(&grad.mean_keepdim(D::Minus1)?)? - y.broadcast_mul(&(grad *
//! &y)?.mean_keepdim(D::Minus1)?)?)?.broadcast_mul(&inverse)?`
//! Read: book/src/01_attention.md: **Why normalize?**
//! Read: crates/part_2_tiny_gpt/src/layer_norm.rs: pub fn layer_norm
//! Read: book/src/01_attention.md: ## The residual path, and the norm

use candle_core::{D, Result, Tensor};

/// Layer norm y of `x: (.., C)`, and the gradient by x that follows from `grad`, that by y.
pub fn layer_norm_there_and_back(x: &Tensor, grad: &Tensor, eps: f64) -> Result<(Tensor, Tensor)> {
    // SOLUTION: 8 lines: mean, variance, y; then the gradient with its two means
    let mean = |x: &Tensor| x.mean_keepdim(D::Minus1); // (.., 1)
    let centered = x.broadcast_sub(&mean(x)?)?;
    let inverse = (mean(&centered.sqr()?)? + eps)?.sqrt()?.recip()?; // (.., 1)
    let y = centered.broadcast_mul(&inverse)?;
    let along_y = y.broadcast_mul(&mean(&(grad * &y)?)?)?;
    let by_x = (grad.broadcast_sub(&mean(grad)?)? - along_y)?.broadcast_mul(&inverse)?;
    Ok((y, by_x))
    // END
}

// GRADE

use candle_core::{Device, Var};
use tensor_core::backward;

use crate::grading::{Answers, Fill, Wrong};

type ThereAndBack = fn(&Tensor, &Tensor, f64) -> Result<(Tensor, Tensor)>;

/// Grader. The reference is part 2's, differentiated by the graph.
pub const GRADE: Fill<ThereAndBack> = Fill {
    cases,
    reference: |x, grad, eps| {
        by_graph(x, grad, |x| {
            let c = x.dim(D::Minus1)?;
            let ones = Tensor::ones(c, x.dtype(), x.device())?;
            tiny_gpt::layer_norm::layer_norm(x, &ones, &ones.zeros_like()?, eps)
        })
    },
    tolerance: 1e-6,
    wrong: &[
        Wrong {
            f: |x, grad, eps| by_graph(x, grad, |x| norm(x, x.dim(D::Minus1)? as f64 - 1., eps)),
            says: "the variance is divided by C − 1; a layer norm divides by C",
            read: "",
        },
        Wrong {
            f: |x, grad, eps| {
                let c = x.dim(D::Minus1)? as f64;
                let y = norm(x, c - 1., eps)?;
                let (centered, n) = (x.broadcast_sub(&x.mean_keepdim(D::Minus1)?)?, c - 1.);
                let variance = (centered.sqr()?.sum_keepdim(D::Minus1)? / n)?;
                let inverse = (variance + eps)?.sqrt()?.recip()?;
                let along_y = y.broadcast_mul(&(grad * &y)?.mean_keepdim(D::Minus1)?)?;
                let by_x = grad.broadcast_sub(&grad.mean_keepdim(D::Minus1)?)? - along_y;
                Ok((y, by_x?.broadcast_mul(&inverse)?))
            },
            says: "the variance is that of `var_keepdim`, divided by C − 1; here it is C",
            read: "",
        },
        Wrong {
            f: |x, grad, eps| {
                let (y, _) = layer_norm_there_and_back(x, grad, eps)?;
                let along_y = y.broadcast_mul(&(grad * x)?.mean_keepdim(D::Minus1)?)?;
                let by_x = grad.broadcast_sub(&grad.mean_keepdim(D::Minus1)?)? - along_y;
                Ok((y, by_x?.broadcast_mul(&inverse(x, eps)?)?))
            },
            says: "the second mean is that of g x; it is that of g y",
            read: "",
        },
        Wrong {
            f: |x, grad, eps| {
                by_graph(x, grad, |x| {
                    let centered = x.broadcast_sub(&x.mean_keepdim(D::Minus1)?)?;
                    let deviation = centered.sqr()?.mean_keepdim(D::Minus1)?.sqrt()?;
                    centered.broadcast_div(&(deviation + eps)?)
                })
            },
            says: "ε is added to the standard deviation; it belongs inside the root",
            read: "",
        },
        Wrong {
            f: |x, grad, eps| {
                let centered = x.broadcast_sub(&x.mean_keepdim(D::Minus1)?)?;
                let deviation = centered.sqr()?.mean_keepdim(D::Minus1)?.sqrt()?;
                let inverse = (deviation + eps)?.recip()?;
                let y = centered.broadcast_mul(&inverse)?;
                let along_y = y.broadcast_mul(&(grad * &y)?.mean_keepdim(D::Minus1)?)?;
                let by_x = grad.broadcast_sub(&grad.mean_keepdim(D::Minus1)?)? - along_y;
                Ok((y, by_x?.broadcast_mul(&inverse)?))
            },
            says: "ε is outside the root, beside the standard deviation; it is √(variance + ε)",
            read: "",
        },
        Wrong {
            f: |x, grad, eps| {
                with_last_term(x, grad, eps, |y| y.broadcast_mul(&grad.mean_keepdim(D::Minus1)?))
            },
            says: "the last mean is that of g; it is that of g y",
            read: "",
        },
        Wrong {
            f: |x, grad, eps| {
                with_last_term(x, grad, eps, |y| {
                    let mean = (grad * y)?.mean_keepdim(D::Minus1)?;
                    mean.broadcast_as(y.shape())
                })
            },
            says: "mean(g y) is subtracted as it is; it is y · mean(g y)",
            read: "",
        },
        Wrong {
            f: |x, grad, eps| {
                let (y, _) = layer_norm_there_and_back(x, grad, eps)?;
                Ok((y, grad.broadcast_mul(&inverse(x, eps)?)?))
            },
            says: "both means are missing from the gradient: mean and variance depend on x, too",
            read: "",
        },
        Wrong {
            f: |x, grad, eps| {
                let (y, _) = layer_norm_there_and_back(x, grad, eps)?;
                let centered = grad.broadcast_sub(&grad.mean_keepdim(D::Minus1)?)?;
                Ok((y, centered.broadcast_mul(&inverse(x, eps)?)?))
            },
            says: "the term y · mean(g y) is missing: the variance depends on x, too",
            read: "",
        },
        Wrong {
            f: |x, grad, eps| {
                let (y, by_x) = layer_norm_there_and_back(x, grad, eps)?;
                let back = by_x.broadcast_div(&inverse(x, eps)?)?;
                Ok((y, back))
            },
            says: "the gradient is not divided by √(variance + ε)",
            read: "",
        },
    ],
};

fn inverse(x: &Tensor, eps: f64) -> Result<Tensor> {
    let centered = x.broadcast_sub(&x.mean_keepdim(D::Minus1)?)?;
    (centered.sqr()?.mean_keepdim(D::Minus1)? + eps)?.sqrt()?.recip()
}

/// Norm, and a gradient whose last term is `term` of y in place of y · mean(g y).
fn with_last_term(
    x: &Tensor,
    grad: &Tensor,
    eps: f64,
    term: impl Fn(&Tensor) -> Result<Tensor>,
) -> Result<(Tensor, Tensor)> {
    let (y, _) = layer_norm_there_and_back(x, grad, eps)?;
    let by_x = grad.broadcast_sub(&grad.mean_keepdim(D::Minus1)?)? - term(&y)?;
    Ok((y, by_x?.broadcast_mul(&inverse(x, eps)?)?))
}

fn norm(x: &Tensor, divisor: f64, eps: f64) -> Result<Tensor> {
    let centered = x.broadcast_sub(&x.mean_keepdim(D::Minus1)?)?;
    let variance = (centered.sqr()?.sum_keepdim(D::Minus1)? / divisor)?;
    centered.broadcast_div(&(variance + eps)?.sqrt()?)
}

fn by_graph(
    x: &Tensor,
    grad: &Tensor,
    f: impl Fn(&Tensor) -> Result<Tensor>,
) -> Result<(Tensor, Tensor)> {
    let x = Var::from_tensor(x)?;
    let y = f(x.as_tensor())?;
    let by_x = backward(&(&y * grad)?.sum_all()?)?.get(x.as_tensor()).cloned();
    Ok((y.detach(), by_x.ok_or(candle_core::Error::Msg("a norm has a gradient".into()))?))
}

fn cases(f: ThereAndBack, answers: &mut Answers) {
    // First, since the grader shows the first difference: here it is large
    let x = Tensor::new(&[[1e-3, -1e-3]], &Device::Cpu).expect("two numbers");
    answers.record("y of 0.001 and −0.001, where ε = 1e-5 counts", || Ok(f(&x, &x, 1e-5)?.0));
    for shape in [&[1, 4][..], &[3, 8], &[2, 2, 5]] {
        let (x, grad) = (answers.normal(shape), answers.normal(shape));
        answers.record(format!("y, shape {shape:?}"), || Ok(f(&x, &grad, 1e-5)?.0));
        answers.record(format!("gradient, shape {shape:?}"), || Ok(f(&x, &grad, 1e-5)?.1));
    }
    let (x, grad) = (answers.normal(&[1, 6]), answers.normal(&[1, 6]));
    answers.record("y of x times 1,000: the scale does not count", || {
        Ok(f(&(&x * 1000.)?, &grad, 1e-5)?.0)
    });
}
