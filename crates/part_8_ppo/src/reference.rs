//! 8.2 The reference: the policy as it was, which it is not to stray too far from.
//!
//! A policy that learns by adapters is its own reference with the adapters off, on the same memory; any other is read a second time.

use anyhow::{Result, ensure};
use candle_core::Device;
use modern::{Checkpoint, GptModern, Purpose};
use sft::{Speech, Tuning};
use tensor_core::Parameters;

use crate::scorer::same_tokens;

/// The reference of `policy`, which speaks as `speech` does: the model that `source` names, or, where that is nothing, the policy without
/// its adapters.
///
/// # Errors
/// When it cannot be opened, or gives no probabilities to the policy's tokens.
pub fn reference(
    source: Option<&str>,
    policy: &Tuning,
    speech: &Speech,
    device: &Device,
) -> Result<GptModern> {
    let Some(source) = source else { return without_adapters(policy) };
    let Checkpoint { model, tokenizer, .. } =
        Checkpoint::open(source, Purpose::ExactInference, device)?;
    let (own, other) = (policy.config.vocab_size, model.config().vocab_size);
    ensure!(
        own == other,
        "the reference {source} gives scores to {other} tokens, the policy to {own}: they cannot be compared"
    );
    ensure!(
        same_tokens(&tokenizer, &speech.tokenizer),
        "the reference {source} has another tokenizer than the policy: its tokens cannot be compared"
    );
    let (own, other) = (policy.config.context, model.config().context);
    ensure!(other >= own, "the reference {source} reads {other} tokens, the policy {own}");
    Ok(model)
}

/// The policy without its adapters, on its memory.
///
/// # Errors
/// When memory is short.
pub fn without_adapters(policy: &Tuning) -> Result<GptModern> {
    let mut without = policy.parameters.inference().without_adapters();
    Ok(GptModern::new(&policy.config, without.root())?)
}

/// The policy's weights as they are now, in memory of their own.
///
/// # Errors
/// When memory is short.
pub fn copied(policy: &Tuning) -> Result<Parameters> {
    let each = policy.parameters.iter();
    let tensors = each.map(|p| Ok((p.name.clone(), p.var.as_detached_tensor().copy()?)));
    let (dtype, device) = (policy.parameters.dtype(), policy.parameters.device());
    let tensors = tensors.collect::<Result<_>>()?;
    let mut copy = Parameters::from_tensors(tensors, "the policy", 0, dtype, device);
    GptModern::new(&policy.config, copy.root())?;
    Ok(copy)
}
