//! 8.2 The reference: the policy as it was, which it is not to stray too far from.
//!
//! A policy that learns by adapters is its own reference with the adapters off, on the same memory; any other is held a second time.

use anyhow::{Context, Result, ensure};
use candle_core::Device;
use modern::{Checkpoint, GptModern, LoadMode, ModelConfig, Tokenizer};
use sft::flags::FinetunedFlags;
use sft::{FinetunedModel, TrainState};
use tensor_core::Parameters;

/// The model that `source` names, as a reference of a policy of `config` that has `tokenizer`.
///
/// # Errors
/// When it cannot be opened, or gives no probabilities to the policy's tokens.
pub fn open_reference(
    source: &str,
    config: &ModelConfig,
    tokenizer: &Tokenizer,
    device: &Device,
) -> Result<Checkpoint> {
    let opening = || format!("opening the reference {source}");
    let other =
        Checkpoint::open(source, LoadMode::DequantizedInference, device).with_context(opening)?;
    let (own, others) = (config.vocab_size, other.model.config().vocab_size);
    ensure!(
        own == others,
        "the reference {source} gives scores to {others} tokens, the policy to {own}: they cannot be compared"
    );
    ensure!(
        other.tokenizer.has_same_vocab(tokenizer),
        "the reference {source} has another tokenizer than the policy: its tokens cannot be compared"
    );
    let (own, others) = (config.context_len, other.model.config().context_len);
    ensure!(others >= own, "the reference {source} reads {others} tokens, the policy {own}");
    Ok(other)
}

/// What a `tuned` model is compared with: the model that is `named`, the tuned one without its adapter, or the one that its run began
/// with. Nothing where none is known.
///
/// # Errors
/// As [`opened`].
pub fn reference_of_finetuned(
    flags: &FinetunedFlags,
    named: Option<&str>,
    tuned: &FinetunedModel,
    device: &Device,
) -> Result<Option<GptModern>> {
    if let (None, Some(without)) = (named, &tuned.without_adapter) {
        return Ok(Some(without.clone()));
    }
    let Some(source) = flags.base_model(named, tuned)? else { return Ok(None) };
    let (config, tokenizer) = (tuned.model.config(), &tuned.chat_tokenizer.tokenizer);
    Ok(Some(open_reference(&source, config, tokenizer, device)?.model))
}

/// The policy as it starts: without its adapters, or, where it has none, a copy.
///
/// # Errors
/// When memory is short.
pub fn create_reference_model(policy: &TrainState) -> Result<GptModern> {
    match policy.parameters.adapters().is_empty() {
        true => {
            Ok(GptModern::new(&policy.config, copy_parameters(policy)?.for_inference().root())?)
        }
        false => without_adapters(policy),
    }
}

/// The policy without its adapters, on its memory.
///
/// # Errors
/// When memory is short.
pub fn without_adapters(policy: &TrainState) -> Result<GptModern> {
    let mut without = policy.parameters.for_inference().without_adapters();
    Ok(GptModern::new(&policy.config, without.root())?)
}

/// The policy's weights as they are now, in memory of their own.
///
/// # Errors
/// When memory is short.
pub fn copy_parameters(policy: &TrainState) -> Result<Parameters> {
    let each = policy.parameters.iter();
    let tensors = each.map(|p| Ok((p.name.clone(), p.var.as_detached_tensor().copy()?)));
    let (dtype, device) = (policy.parameters.dtype(), policy.parameters.device());
    let tensors = tensors.collect::<Result<_>>()?;
    let mut copy = Parameters::from_tensors(tensors, "the policy", 0, dtype, device);
    GptModern::new(&policy.config, copy.root())?;
    Ok(copy)
}
