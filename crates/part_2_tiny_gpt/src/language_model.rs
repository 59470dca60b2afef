//! What the training loop, the evaluation and the log ask of a model. [`Gpt`] answers here; later parts' models in theirs.

use std::path::Path;

use candle_core::{Device, Tensor};
use tensor_core::{Parameters, Rng};

use crate::{Gpt, Sampling, generate, model_folder};

/// A model that gives every token a score for being next.
pub trait LanguageModel: Sized {
    /// Longest text it is trained on, in tokens.
    fn context_len(&self) -> usize;

    /// Where its weights live.
    fn device(&self) -> &Device;

    /// The scores of every possible next token after each of `ids: (B, T)`: (B, T, V).
    fn forward(&self, ids: &Tensor) -> candle_core::Result<Tensor>;

    /// The same model on the memory of `parameters`, for use without training.
    fn for_inference(&self, parameters: &Parameters) -> candle_core::Result<Self>;

    /// Writes the model folder `folder`.
    fn save(&self, folder: &Path, parameters: &Parameters) -> anyhow::Result<()>;

    /// Writes up to `n` tokens after `prompt`.
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

    fn device(&self) -> &Device {
        self.device()
    }

    fn forward(&self, ids: &Tensor) -> candle_core::Result<Tensor> {
        self.forward(ids)
    }

    fn for_inference(&self, parameters: &Parameters) -> candle_core::Result<Self> {
        Self::new(self.config(), parameters.for_inference().root())
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
