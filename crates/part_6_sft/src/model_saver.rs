//! Model saver: writes a fine-tuned model as a model folder, or as its adapter only, with tokenizer
//! and chat template.

use std::path::Path;

use anyhow::{Context, Result};
use candle_core::{DType, Device};
use model_io::model_folder::SpecialTokenIds;
use model_io::{GenerationConfig, LoadMode, LoraConfig, ModelConfig, model_folder, peft_folder};
use modern::{Checkpoint, Sampler};
use tensor_core::Parameters;

use crate::{ChatTokenizer, TrainState, lora};

/// Everything that is saved with a model's weights.
#[derive(Debug)]
pub struct ModelSaver<'a> {
    /// Tokenizer and chat template.
    pub chat_tokenizer: &'a ChatTokenizer,
    /// BOS and EOS ids.
    pub special_ids: &'a SpecialTokenIds,
    /// Default sampling settings of the model.
    pub sampler: Option<&'a Sampler>,
    /// LoRA configuration and path of the base model, for a model with adapters.
    pub lora: Option<(&'a LoraConfig, &'a str)>,
}

impl ModelSaver<'_> {
    /// Writes `model/` into a run folder, or `adapter/` for a model with adapters.
    ///
    /// # Errors
    /// When a file cannot be written.
    pub fn save(&self, folder: &Path, train_state: &TrainState) -> Result<()> {
        let Some((config, base)) = self.lora else {
            return self.save_model(
                &folder.join("model"),
                &train_state.config,
                &train_state.parameters,
            );
        };
        let folder = folder.join("adapter");
        let ChatTokenizer { tokenizer, template, .. } = self.chat_tokenizer;
        tokenizer.save(&folder, train_state.config.context_len, Some(template))?;
        peft_folder::save(&folder, &train_state.parameters, config, base)
    }

    /// Writes `model/`: the base model, merged with the adapter that [`ModelSaver::save`] wrote
    /// last, the best of the run.
    ///
    /// # Errors
    /// When the base or the adapter cannot be opened, or a file cannot be written.
    pub fn save_merged(&self, folder: &Path, device: &Device) -> Result<()> {
        let (_, base) = self.lora.context("there is no adapter to merge")?;
        let load_mode = LoadMode::Training(DType::F32);
        let Checkpoint { model, mut parameters, .. } = Checkpoint::open(base, load_mode, device)?;
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
        let generation = self.sampler.map(GenerationConfig::from);
        model_folder::save(folder, config, parameters, self.special_ids, generation.as_ref())
    }
}
