//! GELU(x) = x · Φ(x): the input times the chance that a normal number lies below it
//! (Hendrycks and Gimpel, <https://arxiv.org/abs/1606.08415>). Its slope is Φ(x) + x · Φ′(x).

use std::f64::consts::{FRAC_1_SQRT_2, PI, SQRT_2};

use candle_core::{Result, Tensor};

use super::check::check;
use super::cpu::{GRAIN, by_type, has_fused_loops, vectorized};
use super::float::Real;
use super::storage::{tensor_like, values};
use super::uninit::{Blank, build, product_of};
use crate::graph::{is_tracked, record};

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
    if !is_tracked(&x) {
        return tensor_like(forward::<T>(&values(&x)?, form), &x);
    }
    let [y, slope] = forward_with_slope::<T>(&values(&x)?, form);
    record("gelu", [&x], y, x.shape(), move |grad, _| {
        Ok([Some(tensor_like(product_of(&slope, &values(grad)?), grad)?)])
    })
}

fn forward<T: Real>(x: &[T], form: Gelu) -> Vec<T> {
    let [y] = build([(x.len(), GRAIN)], |i, [y]| {
        let x = &x[i * GRAIN..];
        [vectorized!(match form {
            Gelu::Exact => y.fill([x], |[x]| x * exact(x).0),
            Gelu::Tanh => y.fill([x], |[x]| x * tanh(x).0),
        })]
    });
    y
}

/// The result and its derivative, which costs little beside it and takes the place of `x` in memory.
fn forward_with_slope<T: Real>(x: &[T], form: Gelu) -> [Vec<T>; 2] {
    let n = x.len();
    build([(n, GRAIN), (n, GRAIN)], |i, blanks| {
        let x = &x[i * GRAIN..];
        vectorized!(match form {
            Gelu::Exact => Blank::fill_all(blanks, [x], |[x]| {
                let (phi, slope) = exact(x);
                with_slope(x, phi, slope)
            }),
            Gelu::Tanh => Blank::fill_all(blanks, [x], |[x]| {
                let (phi, slope) = tanh(x);
                with_slope(x, phi, slope)
            }),
        })
    })
}

/// x · Φ(x) and its slope, from those of Φ.
#[inline(always)]
fn with_slope<T: Real>(x: T, phi: T, slope: T) -> [T; 2] {
    [x * phi, phi + x * slope]
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
