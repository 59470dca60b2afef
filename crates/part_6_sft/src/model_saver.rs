//! Model saver: writes a fine-tuned model as a model folder, or as its adapter only, with tokenizer
//! and chat template.

use std::path::{Path, PathBuf};

use anyhow::{Result, ensure};
use candle_core::{DType, Device};
use experiment::TrainState;
use model_io::{
    GenerationConfig, LoraConfig, ModelConfig, SpecialTokenIds, TensorNames, find_adapter,
    locate_model, model_folder, peft_folder,
};
use modern::{Checkpoint, Sampler};
use tensor_core::{OptimizerConfig, Parameters};

use crate::merged_model::open_merged;
use crate::{ChatFormat, ChatTokenizer, lora};

/// Run folder, and everything that is saved in it with the weights of a fine-tuned model.
#[derive(Debug)]
pub struct ModelSaver {
    /// Run folder.
    pub folder: PathBuf,
    /// Architecture of the model.
    pub config: ModelConfig,
    /// Tokenizer and chat template.
    pub chat_tokenizer: ChatTokenizer,
    /// BOS and EOS ids.
    pub special_ids: SpecialTokenIds,
    /// Default sampling settings of the model.
    pub sampler: Option<Sampler>,
    /// LoRA configuration of a model with adapters.
    pub lora: Option<LoraConfig>,
    /// Path of the model that the run started from, to which adapters belong.
    pub base: String,
}

impl ModelSaver {
    /// Saver of a model that is fine-tuned from `checkpoint`, which was opened at `base` for
    /// training, and the weights of the checkpoint. `template` is its chat format, else its own.
    ///
    /// # Errors
    /// When the model lacks tokens that the format needs, or layers that `lora` names.
    pub fn new(
        folder: &Path,
        base: &str,
        mut checkpoint: Checkpoint,
        template: Option<ChatFormat>,
        lora: Option<LoraConfig>,
    ) -> Result<(Self, Parameters)> {
        let chat_tokenizer = ChatTokenizer::from_checkpoint(&mut checkpoint, template)?;
        let Checkpoint { model, parameters, special_ids, sampler, .. } = checkpoint;
        if let Some(lora) = &lora {
            lora.resolve_layers(&parameters)?;
            ensure!(
                find_adapter(&locate_model(base)?).is_none(),
                "{base} is an adapter, and new adapters need a base model on disk: merge it first \
                 with `part_6 merge --model {base} --out DIR`, or train without --lora-rank"
            );
        }
        let (folder, base, config) = (folder.to_path_buf(), base.to_string(), *model.config());
        let saver = Self { folder, config, chat_tokenizer, special_ids, sampler, lora, base };
        Ok((saver, parameters))
    }

    /// State of a new run that trains `parameters`, or adapters beside them, drawn from `seed`; its
    /// models compute in `dtype`.
    ///
    /// # Errors
    /// When memory is short.
    pub fn train_state(
        &self,
        mut parameters: Parameters,
        optimizer: OptimizerConfig,
        dtype: DType,
        seed: u64,
    ) -> Result<TrainState> {
        if let Some(lora) = &self.lora {
            lora::attach(&mut parameters, lora, seed)?;
        }
        TrainState::new(parameters, optimizer)?.with_compute_dtype(dtype)
    }

    /// Name of the subfolder that [`save`](Self::save) writes: `model`, or `adapter` for a model
    /// with adapters.
    pub fn subfolder(&self) -> &'static str {
        if self.lora.is_some() { "adapter" } else { "model" }
    }

    /// Writes `model/` into the run folder, or `adapter/` for a model with adapters.
    ///
    /// # Errors
    /// When a file cannot be written.
    pub fn save(&self, parameters: &Parameters) -> Result<()> {
        self.save_to(&self.folder.join(self.subfolder()), parameters)
    }

    /// Writes the model into `folder`, or its adapter for a model with adapters.
    ///
    /// # Errors
    /// When a file cannot be written.
    pub fn save_to(&self, folder: &Path, parameters: &Parameters) -> Result<()> {
        let Some(lora) = &self.lora else { return self.save_model(folder, parameters) };
        let ChatTokenizer { tokenizer, template, .. } = &self.chat_tokenizer;
        tokenizer.save(folder, self.config.context_len, Some(template))?;
        peft_folder::save(folder, parameters, lora, &self.base)
    }

    /// Writes the checkpoint `folder` of `state`, which is also a folder of its model, or of its
    /// adapter; `data_id` names the training data.
    ///
    /// # Errors
    /// When a file cannot be written.
    pub fn save_checkpoint(&self, folder: &Path, state: &TrainState, data_id: &str) -> Result<()> {
        self.save_to(folder, &state.parameters)?;
        if self.lora.is_some() || TensorNames::of(&self.config).has_transposed() {
            state.save_trained_weights(folder)?;
        }
        state.save_without_weights(folder, data_id, &())
    }

    /// Writes `model/`: the base model, merged with the adapter that [`save`](Self::save) wrote
    /// last, the best of the run.
    ///
    /// # Errors
    /// When the base or the adapter cannot be opened, or a file cannot be written.
    pub fn save_merged(&self, device: &Device) -> Result<()> {
        let merged = open_merged(&self.base, &self.folder.join("adapter"), device)?;
        self.save_model(&self.folder.join("model"), &merged.parameters)
    }

    fn save_model(&self, folder: &Path, parameters: &Parameters) -> Result<()> {
        let ChatTokenizer { tokenizer, template, .. } = &self.chat_tokenizer;
        tokenizer.save(folder, self.config.context_len, Some(template))?;
        let generation = self.sampler.as_ref().map(GenerationConfig::from);
        let special_ids = &self.special_ids;
        model_folder::save(folder, &self.config, parameters, special_ids, generation.as_ref())
    }
}
