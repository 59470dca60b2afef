//! Generation without a KV cache: the whole text is processed again for every token. Baseline for
//! the cache's speed and correctness.

use anyhow::{Result, ensure};
use candle_core::{DType, Device, Tensor};
use tensor_core::Rng;

use crate::GptModern;
use crate::sampler::Sampler;

/// Generates `n` tokens after `prompt`, with the same result as [`generate`](fn@crate::generate)
/// for a single prompt and random stream.
///
/// # Errors
/// When the prompt is empty or the text exceeds the context length.
pub fn generate_uncached(
    model: &GptModern,
    prompt: &[u32],
    n: usize,
    sampler: &Sampler,
    rng: &mut Rng,
) -> Result<Vec<u32>> {
    ensure!(!prompt.is_empty(), "the prompt is empty: there is nothing to continue");
    let (context_len, v) = (model.config().context_len, model.config().vocab_size);
    let end = prompt.len() + n.saturating_sub(1); // the last token is not an input
    ensure!(end <= context_len, "{end} tokens exceed the model's context of {context_len}");
    let mut tokens = prompt.to_vec();
    let mut seen = vec![false; v];
    for _ in 0..n {
        let ids = Tensor::new(&tokens[..], model.device())?.unsqueeze(0)?; // (1, T)
        let hidden = model.hidden_states(&ids)?; // (1, T, C)
        let hidden = hidden.narrow(1, tokens.len() - 1, 1)?.contiguous()?; // (1, 1, C)
        let logits = model.logits(&hidden)?.flatten_all()?.to_dtype(DType::F32)?;
        let logits = logits.to_device(&Device::Cpu)?.to_vec1::<f32>()?; // (V)
        tokens.iter().for_each(|&token| seen[token as usize] = true);
        tokens.push(sampler.sample_token(&logits, &seen, rng).token);
    }
    Ok(tokens.split_off(prompt.len()))
}
