//! 8.3 Reference model: the frozen model that the KL penalty keeps the policy close to.
//!
//! A policy with LoRA adapters is its own reference with the adapters off, in the same memory; any
//! other policy is copied.

use anyhow::{Context, Result, ensure};
use candle_core::Device;
use model_io::{LoadMode, ModelConfig, Tokenizer};
use modern::{Checkpoint, GptModern};
use sft::FinetunedModel;
use sft::model_flags::FinetunedFlags;
use tensor_core::Parameters;

/// Model at `source`, as the reference of a policy with `config` and `tokenizer`.
///
/// # Errors
/// When it cannot be opened, or its vocabulary or context does not fit the policy's.
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
        "the reference {source} has a vocabulary of {others} tokens, the policy one of {own}: \
         their probabilities cannot be compared"
    );
    ensure!(
        other.tokenizer.has_same_vocab(tokenizer),
        "the reference {source} has another tokenizer than the policy: their probabilities cannot \
         be compared"
    );
    let (own, others) = (config.context_len, other.model.config().context_len);
    ensure!(
        others >= own,
        "the reference {source} has a context of {others} tokens, the policy {own}"
    );
    Ok(other)
}

/// Reference model of a fine-tuned model: the model `named`, else the fine-tuned one without its
/// adapter, else the base model of its run; `None` if none is known.
///
/// # Errors
/// As [`open_reference`].
pub fn reference_of_finetuned(
    flags: &FinetunedFlags,
    named: Option<&str>,
    finetuned: &FinetunedModel,
    device: &Device,
) -> Result<Option<GptModern>> {
    if let (None, Some(without)) = (named, &finetuned.without_adapter) {
        return Ok(Some(without.clone()));
    }
    let Some(source) = flags.base_model(named, finetuned)? else { return Ok(None) };
    let (config, tokenizer) = (finetuned.model.config(), &finetuned.chat_tokenizer.tokenizer);
    Ok(Some(open_reference(&source, config, tokenizer, device)?.model))
}

/// Reference of a new run: the policy without its adapters, or a copy if it has none.
///
/// # Errors
/// When memory is short.
pub fn create_reference_model(config: &ModelConfig, policy: &Parameters) -> Result<GptModern> {
    match policy.adapters().is_empty() {
        true => {
            Ok(GptModern::new(config, copy_as_reference(config, policy)?.for_inference().root())?)
        }
        false => without_adapters(config, policy),
    }
}

/// Policy without its adapters, in the same memory.
///
/// # Errors
/// When memory is short.
pub fn without_adapters(config: &ModelConfig, policy: &Parameters) -> Result<GptModern> {
    let mut without = policy.for_inference().without_adapters();
    Ok(GptModern::new(config, without.root())?)
}

/// Copy of the policy's current weights, frozen, that computes in the same dtype.
///
/// # Errors
/// When memory is short.
pub fn copy_as_reference(config: &ModelConfig, policy: &Parameters) -> Result<Parameters> {
    let mut copy = copy_parameters(config, policy)?;
    copy.freeze(|_| true);
    Ok(copy.into_compute_dtype(policy.compute_dtype())?)
}

/// Copy of the policy's current weights.
///
/// # Errors
/// When memory is short.
pub fn copy_parameters(config: &ModelConfig, policy: &Parameters) -> Result<Parameters> {
    let tensors = policy.iter().map(|p| Ok((p.name.clone(), p.var.as_detached_tensor().copy()?)));
    let (dtype, device) = (policy.dtype(), policy.device());
    let tensors = tensors.collect::<Result<_>>()?;
    let mut copy = Parameters::from_tensors(tensors, "the policy", 0, dtype, device);
    GptModern::new(config, copy.root())?;
    Ok(copy)
}
