//! Tests of part 2, one module per section.

mod tokenizer;
mod batches;
mod softmax;
mod cross_entropy;
mod layer_norm;
mod model;
mod model_folder;
mod adamw;
mod training;
mod sampling;
mod evaluation;

use candle_core::{DType, Device, Result, Tensor, Var};
use tensor_core::testing::assert_close;
use tensor_core::{Parameters, backward};

use crate::{Gpt, GptConfig};

const CPU: Device = Device::Cpu;

/// Sizes of a model with a few thousand parameters.
fn tiny_config() -> GptConfig {
    GptConfig::byte_level(8, 2, 2, 16)
}

/// [`tiny_config`] with initial weights.
fn new_model(seed: u64, dtype: DType) -> Result<(Gpt, Parameters)> {
    let mut parameters = Parameters::seeded(seed, dtype, &CPU);
    let model = Gpt::new(&tiny_config(), parameters.root())?;
    Ok((model, parameters))
}

/// Asserts that a written-out lesson and its fused version have the same value at `inputs`, and the
/// same gradient with respect to each of them.
fn assert_same_value_and_gradient(
    inputs: &[&Tensor],
    lesson: impl Fn(&[&Tensor]) -> Result<Tensor>,
    fused: impl Fn(&[&Tensor]) -> Result<Tensor>,
    tol: f64,
) -> Result<()> {
    let vars = inputs.iter().map(|input| Var::from_tensor(input)).collect::<Result<Vec<_>>>()?;
    let inputs: Vec<&Tensor> = vars.iter().map(Var::as_tensor).collect();
    let (lesson, fused) = (lesson(&inputs)?, fused(&inputs)?);
    assert_close(&lesson, &fused, tol);
    // A sum with uneven weights: errors of different elements cannot cancel.
    let weights = Tensor::arange(0f32, fused.elem_count() as f32, &CPU)?.cos()?;
    let weighted_sum = |y: &Tensor| (y.flatten_all()? * &weights)?.sum_all();
    let (lesson, fused) = (backward(&weighted_sum(&lesson)?)?, backward(&weighted_sum(&fused)?)?);
    for input in inputs {
        assert_close(lesson.get(input).expect("a gradient"), fused.get(input).expect("one"), tol);
    }
    Ok(())
}
