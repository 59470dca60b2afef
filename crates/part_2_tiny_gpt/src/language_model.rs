//! Interface that the training loop and the evaluation need from a model. Implemented here by
//! [`Gpt`], later by the models of parts 3 and 5.

use std::path::Path;

use candle_core::{DType, Module};
use tensor_core::{Parameters, Rng};

use crate::{Gpt, Sampling, generate, model_folder};

/// Language model: gives a logit to every token that may come next.
///
/// As a [`Module`], it maps ids (B, T) to the logits (B, T, V) of the token after each.
pub trait LanguageModel: Module + Sized {
    /// Context length in tokens: the longest text the model is trained on.
    fn context_len(&self) -> usize;

    /// Inference copy that shares the memory of `parameters`, without autograd graph and dropout.
    fn for_inference(&self, parameters: &Parameters) -> candle_core::Result<Self>;

    /// The model with the current values of `parameters`, computing in `dtype`; its gradients flow
    /// back to them in their own dtype.
    fn in_compute_dtype(&self, parameters: &Parameters, dtype: DType) -> candle_core::Result<Self>;

    /// Saves the model to the model folder `folder`.
    fn save(&self, folder: &Path, parameters: &Parameters) -> anyhow::Result<()>;

    /// Samples up to `n` tokens after `prompt`.
    fn generate(
        &self,
        prompt: &[u32],
        n: usize,
        sampling: &Sampling,
        rng: &mut Rng,
    ) -> anyhow::Result<Vec<u32>>;
}

impl LanguageModel for Gpt {
    fn context_len(&self) -> usize {
        self.config().context_len
    }

    fn for_inference(&self, parameters: &Parameters) -> candle_core::Result<Self> {
        Self::new(self.config(), parameters.for_inference().root())
    }

    fn in_compute_dtype(&self, parameters: &Parameters, dtype: DType) -> candle_core::Result<Self> {
        Self::new(self.config(), parameters.with_compute_dtype(dtype).root())
    }

    fn save(&self, folder: &Path, parameters: &Parameters) -> anyhow::Result<()> {
        model_folder::save(folder, self.config(), parameters)
    }

    fn generate(
        &self,
        prompt: &[u32],
        n: usize,
        sampling: &Sampling,
        rng: &mut Rng,
    ) -> anyhow::Result<Vec<u32>> {
        generate(self, prompt, n, sampling, rng, |_| Ok(()))
    }
}
