//! Tests of part 2, one module per section.

mod tokenizer;
mod batches;
mod loss;
mod model;
mod model_folder;
mod training;
mod sampling;
mod evaluation;

use candle_core::{DType, Device, Result};
use tensor_core::Parameters;

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
