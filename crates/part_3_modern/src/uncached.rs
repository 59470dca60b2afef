//! Writing without a cache: the whole text is read anew for every token. What the cache is measured against.

use anyhow::{Result, ensure};
use candle_core::{DType, Device, Tensor};
use tensor_core::Rng;

use crate::GptModern;
use crate::sampler::Sampler;

/// Writes `n` tokens after `prompt`, as [`generate`](fn@crate::generate) does for a single prompt and a random stream of its own.
///
/// # Errors
/// When the prompt is empty or the text grows beyond the context.
pub fn generate_uncached(
    model: &GptModern,
    prompt: &[u32],
    n: usize,
    sampler: &Sampler,
    rng: &mut Rng,
) -> Result<Vec<u32>> {
    ensure!(!prompt.is_empty(), "the prompt is empty: there is nothing to continue");
    let (context, v) = (model.config().context_len, model.config().vocab_size);
    let end = prompt.len() + n.saturating_sub(1); // the last token is not read
    ensure!(end <= context, "{end} tokens are more than the model's context of {context}");
    let mut tokens = prompt.to_vec();
    let mut seen = vec![false; v];
    for _ in 0..n {
        let ids = Tensor::new(&tokens[..], model.device())?.unsqueeze(0)?; // (1, T)
        let hidden = model.hidden_states(&ids)?.narrow(1, tokens.len() - 1, 1)?.contiguous()?; // (1, 1, C)
        let logits = model.logits(&hidden)?.flatten_all()?.to_dtype(DType::F32)?;
        let logits = logits.to_device(&Device::Cpu)?.to_vec1::<f32>()?; // (V)
        tokens.iter().for_each(|&token| seen[token as usize] = true);
        tokens.push(sampler.sample_token(&logits, &seen, rng).token);
    }
    Ok(tokens.split_off(prompt.len()))
}
