//! What a fine-tuned model is saved as: a model folder, or its adapter alone, with all that is needed to speak to it.

use std::path::Path;

use anyhow::{Context, Result};
use candle_core::{DType, Device};
use modern::model_folder::SpecialTokenIds;
use modern::{Checkpoint, LoadMode, ModelConfig, Sampler, model_folder};
use tensor_core::Parameters;

use crate::{ChatTokenizer, LoraConfig, TrainState, lora, peft_folder};

/// All that belongs to a model but its weights.
#[derive(Debug)]
pub struct ModelSaver<'a> {
    /// Tokens and template.
    pub chat_tokenizer: &'a ChatTokenizer,
    /// Where its texts begin and end.
    pub special_ids: &'a SpecialTokenIds,
    /// How its makers would have its tokens chosen.
    pub sampler: Option<&'a Sampler>,
    /// The adapters, if it has any, and where the model is that they are for.
    pub lora: Option<(&'a LoraConfig, &'a str)>,
}

impl ModelSaver<'_> {
    /// Writes `model/` into a run's folder; of a model with adapters, `adapter/`.
    ///
    /// # Errors
    /// When a file cannot be written.
    pub fn save(&self, folder: &Path, tuning: &TrainState) -> Result<()> {
        let Some((config, base)) = self.lora else {
            return self.save_model(&folder.join("model"), &tuning.config, &tuning.parameters);
        };
        let folder = folder.join("adapter");
        let ChatTokenizer { tokenizer, template, .. } = self.chat_tokenizer;
        tokenizer.save(&folder, tuning.config.context_len, Some(template))?;
        peft_folder::save(&folder, &tuning.parameters, config, base)
    }

    /// Writes `model/`: the base model, merged with the adapter that [`ModelSaver::save`] wrote
    /// last, the best of the run.
    ///
    /// # Errors
    /// When the base or the adapter cannot be opened, or a file cannot be written.
    pub fn save_merged(&self, folder: &Path, device: &Device) -> Result<()> {
        let (_, base) = self.lora.context("there is no adapter to merge")?;
        let purpose = LoadMode::Training(DType::F32);
        let Checkpoint { model, mut parameters, .. } = Checkpoint::open(base, purpose, device)?;
        peft_folder::open(&folder.join("adapter"), &mut parameters)?;
        lora::merge(&parameters)?;
        self.save_model(&folder.join("model"), model.config(), &parameters.without_adapters())
    }

    fn save_model(
        &self,
        folder: &Path,
        config: &ModelConfig,
        parameters: &Parameters,
    ) -> Result<()> {
        let ChatTokenizer { tokenizer, template, .. } = self.chat_tokenizer;
        tokenizer.save(folder, config.context_len, Some(template))?;
        model_folder::save(folder, config, parameters, self.special_ids, self.sampler)
    }
}
