//! 4.2: peak memory of a training step, with and without gradient checkpointing.

use anyhow::Result;
use candle_core::{DType, Device};
use model_io::ModelConfig;
use modern::{GptModern, GradientCheckpointing};
use scaling::accumulation::gradients;
use tensor_core::testing::CountingAllocator;
use tensor_core::{Dropout, Parameters};
use tiny_gpt::Batch;

#[global_allocator]
static ALLOCATOR: CountingAllocator = CountingAllocator::new();

/// Peak memory in bytes, beyond the weights, of a step on one window of `t` tokens.
fn peak_bytes(t: usize, checkpointing: GradientCheckpointing) -> Result<usize> {
    let config = ModelConfig::byte_level(t, 8, 4, 64);
    let mut parameters = Parameters::seeded(0, DType::F32, &Device::Cpu);
    let model = GptModern::new(&config, parameters.root())?;
    let model = model.for_training(Dropout::disabled(), checkpointing);
    let tokens: Vec<u32> = (0..=t as u32).map(|i| i * 31 % 256).collect();
    let batch = Batch::from_starts(&tokens, &[0], t, &Device::Cpu)?;
    let before = ALLOCATOR.reset_peak();
    gradients(&model, &parameters, &[batch], 1.)?;
    Ok(ALLOCATOR.peak() - before)
}

#[test]
fn gradient_checkpointing_at_least_halves_the_peak_memory() -> Result<()> {
    peak_bytes(64, GradientCheckpointing::Off)?; // allocates the thread pool and its buffers
    let off = peak_bytes(1024, GradientCheckpointing::Off)?;
    let on = peak_bytes(1024, GradientCheckpointing::On)?;
    println!(
        "1,024 tokens, 8 layers of width 64: {off} bytes without gradient checkpointing, \
         {on} bytes with it"
    );
    assert!(2 * on < off, "{off} bytes without gradient checkpointing, {on} bytes with it");
    Ok(())
}
