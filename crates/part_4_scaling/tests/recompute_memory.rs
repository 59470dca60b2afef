//! How many bytes a training step holds at its peak, with all activations kept and with most of them computed again.

use anyhow::Result;
use candle_core::{DType, Device};
use modern::{GptModern, GradientCheckpointing, ModelConfig};
use scaling::accumulation::gradients;
use tensor_core::testing::CountingAllocator;
use tensor_core::{Dropout, Parameters};
use tiny_gpt::Batch;

#[global_allocator]
static ALLOCATOR: CountingAllocator = CountingAllocator::new();

/// The most bytes that a step on one window of `t` tokens holds beyond the weights.
fn peak(t: usize, activations: GradientCheckpointing) -> Result<usize> {
    let config = ModelConfig::byte_level(t, 8, 4, 64);
    let mut parameters = Parameters::seeded(0, DType::F32, &Device::Cpu);
    let model = GptModern::new(&config, parameters.root())?;
    let model = model.for_training(Dropout::disabled(), activations);
    let tokens: Vec<u32> = (0..=t as u32).map(|i| i * 31 % 256).collect();
    let batch = Batch::from_starts(&tokens, &[0], t, &Device::Cpu)?;
    let before = ALLOCATOR.reset_peak();
    gradients(&model, &parameters, &[batch], 1.)?;
    Ok(ALLOCATOR.peak() - before)
}

#[test]
fn recomputation_halves_the_memory_of_a_long_context_at_least() -> Result<()> {
    peak(64, GradientCheckpointing::Off)?; // the threads and their buffers come once
    let [kept, again] =
        [GradientCheckpointing::Off, GradientCheckpointing::On].map(|a| peak(1024, a));
    let (kept, again) = (kept?, again?);
    println!("1,024 tokens, 8 layers of width 64: {kept} bytes kept, {again} recomputed");
    assert!(2 * again < kept, "{kept} bytes kept, {again} recomputed");
    Ok(())
}
