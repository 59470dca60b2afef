//! 8.2 The reference: the policy as it was, which it is not to stray too far from.
//!
//! A policy that learns by adapters is its own reference with the adapters off, on the same memory; any other is read a second time.

use anyhow::{Result, ensure};
use candle_core::Device;
use modern::{Checkpoint, GptModern, Purpose};
use sft::{Speech, Tuning};

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
    let Some(source) = source else {
        let mut without = policy.parameters.without_adapters().inference();
        return Ok(GptModern::new(&policy.config, without.root())?);
    };
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
