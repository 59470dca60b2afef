//! GELU(x) = x · Φ(x): the input times the chance that a normal number lies below it
//! (Hendrycks and Gimpel, <https://arxiv.org/abs/1606.08415>).

use std::f64::consts::{PI, SQRT_2};

use candle_core::{Result, Tensor};

/// Which formula stands for Φ.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Gelu {
    /// Φ(x) = (1 + erf(x/√2)) / 2.
    #[default]
    Exact,
    /// Φ(x) ≈ (1 + tanh(√(2/π) (x + 0.044715 x³))) / 2, the approximation GPT-2 was trained with.
    Tanh,
}

/// GELU of every element of `x`, of any shape.
pub fn gelu(x: &Tensor, form: Gelu) -> Result<Tensor> {
    let twice_phi = match form {
        Gelu::Exact => ((x / SQRT_2)?.erf()? + 1.)?,
        Gelu::Tanh => {
            let cubic = (x + (x.sqr()? * x)?.affine(0.044715, 0.)?)?;
            ((cubic * (2. / PI).sqrt())?.tanh()? + 1.)?
        }
    };
    (x * twice_phi)? * 0.5
}
