//! 1.10 Twelve layers without residual (predict, 6 minutes, ●●○)
//!
//! Twelve layers of 64 channels, weights W with standard deviation 0.02. With residual, a layer
//! adds gelu(LayerNorm(x) W) to x, as in GPT-2; without it, the layer is gelu(x W) alone. A random
//! gradient arrives at the end. How large is the gradient by the first layer's input, compared with
//! that by the last layer's?
//!
//! Hint: Without residual each layer multiplies the gradient by its own Jacobian, the matrix of its
//! slopes: eleven of them lie between the two inputs.
//! Hint: x W has a deviation of 0.02 √64 = 0.16 times that of x, and gelu halves it.
//! Hint: With x + f(x) the Jacobian is 1 plus something small, so the gradient passes unchanged;
//! 0.08 to the power of eleven is 10⁻¹².
//! Read: book/src/01_attention.md: ## The residual path, and the norm
//! Read: crates/part_1_attention/src/block.rs: Each layer adds to the residual stream
//! Read: book/src/01_attention.md: ## The residual path, and the norm

use candle_core::{DType, Device, Result, Tensor, Var};
use tensor_core::{Rng, backward};

use crate::grading::Prediction;

/// Questions.
pub fn questions() -> Vec<Prediction> {
    let [with, without] = [true, false].map(|residual| ratio(residual).expect("twelve layers"));
    vec![
        Prediction::choice(
            "With the residual, x + f(x), the first layer's gradient is, compared with the last's:",
            &["a thousand times smaller", "of the same size, within a factor of 3", "0"],
            bucket(with),
            "The residual path carries the gradient past all layers.",
        )
        .trap(0., "that is what products of small Jacobians do; the 1 of the residual prevents it")
        .trap(2., "the gradient reaches all layers: none is cut off"),
        Prediction::choice(
            "Without residual, gelu(x W), it is:",
            &[
                "about a million million times smaller",
                "of the same size, within a factor of 3",
                "0",
            ],
            bucket(without),
            "Each layer multiplies it by a small Jacobian, eleven times in a row.",
        )
        .trap(1., "what would carry it past a layer whose outputs are a tenth of its inputs?")
        .trap(2., "it is tiny, and not 0: every layer has some slope"),
    ]
}

fn bucket(ratio: f64) -> usize {
    if ratio < 1e-3 {
        0
    } else if (1. / 3. ..3.).contains(&ratio) {
        1
    } else {
        2
    }
}

/// Gradient norm by the first layer's input, divided by that by the last's.
fn ratio(residual: bool) -> Result<f64> {
    const C: usize = 64;
    let mut rng = Rng::new(5);
    let mut normal = |rows, std| rng.normal_tensor((rows, C), std, DType::F64, &Device::Cpu);
    let mut x = normal(8, 1.)?;
    let ones = Tensor::ones(C, DType::F64, &Device::Cpu)?;
    let mut shifts = Vec::new(); // 0, added to each layer's input, for its gradient
    for _ in 0..12 {
        let shift = Var::zeros((8, C), DType::F64, &Device::Cpu)?;
        x = (x + shift.as_tensor())?;
        let weight = normal(C, 0.02)?;
        x = if residual {
            let normed = tiny_gpt::layer_norm::layer_norm(&x, &ones, &ones.zeros_like()?, 1e-5)?;
            (&x + normed.matmul(&weight)?.gelu()?)?
        } else {
            x.matmul(&weight)?.gelu()?
        };
        shifts.push(shift);
    }
    let grads = backward(&(x * normal(8, 1.)?)?.sum_all()?)?;
    let norm = |shift: &Var| -> Result<f64> {
        let grad = grads.get(shift.as_tensor()).cloned();
        let grad = grad.ok_or(candle_core::Error::Msg("every input has a gradient".into()))?;
        grad.sqr()?.sum_all()?.to_scalar::<f64>().map(f64::sqrt)
    };
    Ok(norm(&shifts[0])? / norm(&shifts[11])?)
}
