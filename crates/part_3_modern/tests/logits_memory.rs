//! Peak memory of the loss of 1,024 tokens with a vocabulary of 49,152: it is that of a chunk of
//! logits, not of all of them. The allocator of this test process counts the bytes, so the process
//! contains this test only.

use anyhow::Result;
use candle_core::{DType, Device, Tensor, Var};
use model_io::ModelConfig;
use modern::GptModern;
use tensor_core::ops::{cross_entropy, entropy, token_log_probs};
use tensor_core::testing::CountingAllocator;
use tensor_core::{Parameters, Rng, backward};

#[global_allocator]
static ALLOCATOR: CountingAllocator = CountingAllocator::new();

const CPU: Device = Device::Cpu;
const N: usize = 1024;
const V: usize = 49_152;
const MB: f64 = 1e6;

/// Peak in megabytes, beyond the weights and the hidden states, of a loss and its gradient.
fn peak_mb(model: &GptModern, loss: impl Fn(&GptModern, &Tensor) -> Result<Tensor>) -> Result<f64> {
    let c = model.config().n_embd;
    let hidden = Var::from_tensor(&Rng::new(1).normal_tensor((N, c), 1., DType::F32, &CPU)?)?;
    let before = ALLOCATOR.reset_peak();
    let grads = backward(&loss(model, hidden.as_tensor())?)?;
    assert!(grads.get(&hidden).is_some());
    Ok((ALLOCATOR.peak() - before) as f64 / MB)
}

#[test]
fn the_logits_of_a_large_vocabulary_never_stand_in_memory_whole() -> Result<()> {
    let config = ModelConfig { vocab_size: V, ..ModelConfig::byte_level(N, 1, 2, 16) };
    let mut parameters = Parameters::seeded(0, DType::F32, &CPU);
    let model = GptModern::new(&config, parameters.root())?;
    let targets = Tensor::from_iter((0..N as i64).map(|i| 47 * i), &CPU)?;
    let logits_mb = (4 * N * V) as f64 / MB;

    let whole =
        peak_mb(&model, |model, hidden| Ok(cross_entropy(&model.logits(hidden)?, &targets)?))?;
    let chunked = peak_mb(&model, |model, hidden| Ok(model.cross_entropy(hidden, &targets)?))?;
    println!("cross-entropy: {whole:.0} MB at once, {chunked:.0} MB in chunks");
    assert!(whole > 2. * logits_mb && chunked < 0.9 * logits_mb, "{whole} {chunked}");

    let per_token = |targets: &Tensor, logits: &Tensor| -> candle_core::Result<Vec<Tensor>> {
        Ok(vec![token_log_probs(logits, targets)?, entropy(logits)?])
    };
    let total = |all: &[Tensor]| Ok((all[0].exp()? + &all[1])?.sum_all()?);
    let whole =
        peak_mb(&model, |model, hidden| total(&per_token(&targets, &model.logits(hidden)?)?))?;
    let chunked = peak_mb(&model, |model, hidden| {
        let targets = targets.clone();
        total(&model.map_logits(hidden, move |rows, logits| {
            per_token(&targets.narrow(0, rows.start, rows.len())?, logits)
        })?)
    })?;
    println!("log-probabilities and entropy: {whole:.0} MB at once, {chunked:.0} MB in chunks");
    assert!(whole > 3. * logits_mb && chunked < 1.4 * logits_mb, "{whole} {chunked}");
    Ok(())
}
