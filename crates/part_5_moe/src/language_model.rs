//! Implementation of part 2's [`LanguageModel`] for [`GptMoe`].

use std::path::Path;

use candle_core::Tensor;
use model_io::model_folder::SpecialTokenIds;
use model_io::{Tokenizer, TokenizerSpecialTokens};
use tensor_core::{Parameters, Rng};
use tiny_gpt::{ByteTokenizer, LanguageModel, Sampling};

use crate::{GptMoe, model_folder};

impl LanguageModel for GptMoe {
    fn context_len(&self) -> usize {
        self.config().model.context_len
    }

    fn forward(&self, ids: &Tensor) -> candle_core::Result<Tensor> {
        self.gpt.forward(ids)
    }

    fn for_inference(&self, parameters: &Parameters) -> candle_core::Result<Self> {
        Self::new(self.config(), parameters.for_inference().root())
    }

    fn save(&self, folder: &Path, parameters: &Parameters) -> anyhow::Result<()> {
        let config = self.config();
        if config.model.vocab_size == ByteTokenizer::VOCAB_SIZE {
            let tokenizer =
                Tokenizer::from_json(ByteTokenizer.to_json(), TokenizerSpecialTokens::default())?;
            tokenizer.save(folder, config.model.context_len, None)?;
        }
        model_folder::save(folder, config, parameters, &SpecialTokenIds::default())
    }

    fn generate(
        &self,
        prompt: &[u32],
        n: usize,
        sampling: &Sampling,
        rng: &mut Rng,
    ) -> anyhow::Result<Vec<u32>> {
        self.gpt.generate(prompt, n, sampling, rng)
    }
}
