//! GELU(x) = x · Φ(x): the input times the chance that a normal number lies below it
//! (Hendrycks and Gimpel, <https://arxiv.org/abs/1606.08415>). Its slope is Φ(x) + x · Φ′(x).

use std::f64::consts::{FRAC_1_SQRT_2, PI, SQRT_2};

use candle_core::{Result, Tensor};

use super::check::check;
use super::cpu::{GRAIN, build, by_type, has_fused_loops, vectorized};
use super::real::Real;
use super::storage::{tensor_like, values};
use crate::graph::record;

/// Which formula stands for Φ.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Gelu {
    /// Φ(x) = (1 + erf(x/√2)) / 2.
    #[default]
    Exact,
    /// Φ(x) ≈ (1 + tanh(√(2/π) (x + 0.044715 x³))) / 2, the approximation GPT-2 was trained with.
    Tanh,
}

const CUBIC: f64 = 0.044715;

/// GELU of every element of `x`, of any shape.
pub fn gelu(x: &Tensor, form: Gelu) -> Result<Tensor> {
    check("gelu", &[("x", x)], true)?;
    if has_fused_loops(x) { by_type!(x, fused(x, form)) } else { reference(x, form) }
}

/// The same from plain tensor operations.
pub fn reference(x: &Tensor, form: Gelu) -> Result<Tensor> {
    let twice_phi = match form {
        Gelu::Exact => ((x / SQRT_2)?.erf()? + 1.)?,
        Gelu::Tanh => {
            let cubic = (x + (x.sqr()? * x)?.affine(CUBIC, 0.)?)?;
            ((cubic * (2. / PI).sqrt())?.tanh()? + 1.)?
        }
    };
    (x * twice_phi)? * 0.5
}

fn fused<T: Real>(x: &Tensor, form: Gelu) -> Result<Tensor> {
    let x = x.contiguous()?;
    let y = forward::<T>(&values(&x)?, form);
    record("gelu", [&x], y, x.shape(), {
        let x = x.detach();
        move |grad, _| {
            let grad_x = backward::<T>(&values(&x)?, &values(grad)?, form);
            Ok([Some(tensor_like(grad_x, &x)?)])
        }
    })
}

fn forward<T: Real>(x: &[T], form: Gelu) -> Vec<T> {
    let [y] = build([(x.len(), GRAIN)], |i, [y]| {
        let each = y.iter_mut().zip(&x[i * GRAIN..]);
        vectorized(|| match form {
            Gelu::Exact => each.for_each(|(y, &x)| *y = x * exact(x).0),
            Gelu::Tanh => each.for_each(|(y, &x)| *y = x * tanh(x).0),
        });
    });
    y
}

fn backward<T: Real>(x: &[T], grad: &[T], form: Gelu) -> Vec<T> {
    let [grad_x] = build([(x.len(), GRAIN)], |i, [out]| {
        let each = out.iter_mut().zip(x[i * GRAIN..].iter().zip(&grad[i * GRAIN..]));
        vectorized(|| match form {
            Gelu::Exact => each.for_each(|(out, (&x, &grad))| {
                let (phi, slope) = exact(x);
                *out = grad * (phi + x * slope);
            }),
            Gelu::Tanh => each.for_each(|(out, (&x, &grad))| {
                let (phi, slope) = tanh(x);
                *out = grad * (phi + x * slope);
            }),
        });
    });
    grad_x
}

/// Φ(x) and its slope, the normal density.
#[inline(always)]
fn exact<T: Real>(x: T) -> (T, T) {
    let half = T::real(0.5);
    let phi = half * (T::ONE + (x * T::real(FRAC_1_SQRT_2)).erf());
    (phi, T::real(1. / (2. * PI).sqrt()) * (-half * x * x).exp())
}

/// The tanh form of Φ(x) and its slope. (1 + tanh u) / 2 = 1 / (1 + exp(−2u)).
#[inline(always)]
fn tanh<T: Real>(x: T) -> (T, T) {
    let twice = T::real(2. * (2. / PI).sqrt());
    let square = x * x;
    let u2 = twice * (x + T::real(CUBIC) * square * x); // 2u
    let phi = T::ONE / (T::ONE + (-u2).exp());
    (phi, phi * (T::ONE - phi) * twice * (T::ONE + T::real(3. * CUBIC) * square))
}
