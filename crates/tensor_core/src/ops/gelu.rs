//! GELU(x) = x · Φ(x), with Φ the standard normal distribution function (Hendrycks and Gimpel,
//! <https://arxiv.org/abs/1606.08415>). Its derivative is Φ(x) + x · Φ′(x).

use std::f64::consts::{FRAC_1_SQRT_2, PI, SQRT_2};

use candle_core::{Result, Tensor};

use super::dispatch::{check, fused_or_reference, in_f32};
use crate::graph::{is_tracked, record};
use crate::kernels::{Float, elementwise_product, map_elements, tensor_like, values};

/// Formula used for Φ.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Gelu {
    /// Φ(x) = (1 + erf(x/√2)) / 2.
    #[default]
    Exact,
    /// Φ(x) ≈ (1 + tanh(√(2/π) (x + 0.044715 x³))) / 2, the approximation that GPT-2 was trained
    /// with.
    Tanh,
}

const CUBIC: f64 = 0.044715;

/// GELU of every element of `x`, of any shape.
pub fn gelu(x: &Tensor, form: Gelu) -> Result<Tensor> {
    check("gelu", &[("x", x)], true)?;
    fused_or_reference!(x, form)
}

/// Reference implementation from plain tensor operations.
pub fn reference(x: &Tensor, form: Gelu) -> Result<Tensor> {
    in_f32(x, |x| {
        let twice_phi = match form {
            Gelu::Exact => ((x / SQRT_2)?.erf()? + 1.)?,
            Gelu::Tanh => {
                let cubic = (x + (x.sqr()? * x)?.affine(CUBIC, 0.)?)?;
                ((cubic * (2. / PI).sqrt())?.tanh()? + 1.)?
            }
        };
        (x * twice_phi)? * 0.5
    })
}

fn fused<T: Float>(x: &Tensor, form: Gelu) -> Result<Tensor> {
    let x = x.contiguous()?;
    if !is_tracked(&x) {
        return tensor_like(forward::<T>(&values(&x)?, form), &x);
    }
    let [y, slope] = forward_with_slope::<T>(&values(&x)?, form);
    record("gelu", [&x], y, x.shape(), move |grad, _| {
        Ok([Some(tensor_like(elementwise_product(&slope, &values(grad)?), grad)?)])
    })
}

fn forward<T: Float>(x: &[T], form: Gelu) -> Vec<T> {
    let [y] = match form {
        Gelu::Exact => map_elements!([x], [x * exact(x).0]),
        Gelu::Tanh => map_elements!([x], [x * tanh(x).0]),
    };
    y
}

/// Result and its derivative, which costs little more than the result and is saved in place of `x`.
fn forward_with_slope<T: Float>(x: &[T], form: Gelu) -> [Vec<T>; 2] {
    match form {
        Gelu::Exact => map_elements!([x], {
            let (phi, slope) = exact(x);
            with_slope(x, phi, slope)
        }),
        Gelu::Tanh => map_elements!([x], {
            let (phi, slope) = tanh(x);
            with_slope(x, phi, slope)
        }),
    }
}

/// x · Φ(x) and its derivative, from Φ and its derivative.
#[inline(always)]
fn with_slope<T: Float>(x: T, phi: T, slope: T) -> [T; 2] {
    [x * phi, phi + x * slope]
}

/// Φ(x) and its derivative, the normal density.
#[inline(always)]
fn exact<T: Float>(x: T) -> (T, T) {
    let half = T::cast(0.5);
    let phi = half * (T::ONE + (x * T::cast(FRAC_1_SQRT_2)).erf());
    (phi, T::cast(1. / (2. * PI).sqrt()) * (-half * x * x).exp())
}

/// Tanh approximation of Φ(x) and its derivative. (1 + tanh u) / 2 = 1 / (1 + exp(−2u)).
#[inline(always)]
fn tanh<T: Float>(x: T) -> (T, T) {
    let twice = T::cast(2. * (2. / PI).sqrt());
    let square = x * x;
    let u2 = twice * (x + T::cast(CUBIC) * square * x); // 2u
    let phi = T::ONE / (T::ONE + (-u2).exp());
    (phi, phi * (T::ONE - phi) * twice * (T::ONE + T::cast(3. * CUBIC) * square))
}
