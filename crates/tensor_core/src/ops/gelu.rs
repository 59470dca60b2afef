//! GELU(x) = x · Φ(x): the input times the chance that a normal number lies below it
//! (Hendrycks and Gimpel, <https://arxiv.org/abs/1606.08415>). Its slope is Φ(x) + x · Φ′(x).

use std::f64::consts::{FRAC_1_SQRT_2, PI, SQRT_2};

use candle_core::{Result, Tensor};

use super::cpu::{Real, build, by_type, has_fused_loops, vectorized};
use super::node::{attach, values};

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
    let x = &x.contiguous()?;
    let y = forward(&values::<T>(x)?, form);
    attach("gelu", [x], y, x.shape(), move |[x], grad| {
        let grad_x = backward(&values::<T>(x)?, &values::<T>(grad)?, form);
        Ok([Some(Tensor::from_vec(grad_x, x.shape(), x.device())?)])
    })
}

fn forward<T: Real>(x: &[T], form: Gelu) -> Vec<T> {
    build(x.len(), |start, y: &mut [T]| {
        let x = &x[start..start + y.len()];
        vectorized(|| match form {
            Gelu::Exact => y.iter_mut().zip(x).for_each(|(y, &x)| *y = x * exact(x).0),
            Gelu::Tanh => y.iter_mut().zip(x).for_each(|(y, &x)| *y = x * tanh(x).0),
        });
    })
}

fn backward<T: Real>(x: &[T], grad: &[T], form: Gelu) -> Vec<T> {
    build(x.len(), |start, out: &mut [T]| {
        let (x, grad) = (&x[start..start + out.len()], &grad[start..start + out.len()]);
        let each = out.iter_mut().zip(x.iter().zip(grad));
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
    })
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
