//! Part 2's training interface for [`GptModern`].

use std::path::Path;

use candle_core::DType;
use model_io::model_folder::{self, SpecialTokenIds};
use model_io::{ModelConfig, Tokenizer, TokenizerSpecialTokens};
use tensor_core::{Parameters, Rng};
use tiny_gpt::{ByteTokenizer, LanguageModel, Sampling};

use crate::sampler::{Sampler, SamplingStrategy};
use crate::{GenerateConfig, GptModern, generate};

impl LanguageModel for GptModern {
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
        save_byte_tokenizer(folder, self.config())?;
        model_folder::save(folder, self.config(), parameters, &SpecialTokenIds::default(), None)
    }

    fn generate(
        &self,
        prompt: &[u32],
        n: usize,
        sampling: &Sampling,
        rng: &mut Rng,
    ) -> anyhow::Result<Vec<u32>> {
        let config = GenerateConfig::new(self, Sampler::new((*sampling).into()), n, Vec::new());
        let mut completions = generate(self, &[prompt.to_vec()], &config, rng, |_, _| Ok(()))?;
        Ok(completions.remove(0).tokens)
    }
}

/// Saves the tokenizer of a byte-level model in `folder`; that of another model is not known here.
///
/// # Errors
/// When the file cannot be written.
pub fn save_byte_tokenizer(folder: &Path, config: &ModelConfig) -> anyhow::Result<()> {
    if config.vocab_size != ByteTokenizer::VOCAB_SIZE {
        return Ok(());
    }
    let tokenizer =
        Tokenizer::from_json(ByteTokenizer.to_json(), TokenizerSpecialTokens::default())?;
    tokenizer.save(folder, config.context_len, None)
}

impl From<Sampling> for SamplingStrategy {
    fn from(sampling: Sampling) -> Self {
        match sampling {
            Sampling::Greedy => Self::Greedy,
            Sampling::Random { temperature, top_k, top_p } => {
                Self::Random { temperature, top_k, top_p, min_p: None }
            }
        }
    }
}
