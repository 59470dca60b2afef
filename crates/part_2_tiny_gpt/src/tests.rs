//! The claims of part 2, one module per section.

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

/// A model of a few thousand parameters.
fn tiny() -> GptConfig {
    GptConfig::byte_level(8, 2, 2, 16)
}

/// [`tiny`] with fresh weights.
fn fresh(seed: u64, dtype: DType) -> Result<(Gpt, Parameters)> {
    let mut parameters = Parameters::seeded(seed, dtype, &CPU);
    let model = Gpt::new(&tiny(), parameters.root())?;
    Ok((model, parameters))
}
