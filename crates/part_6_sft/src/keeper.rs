//! What a fine-tuned model is saved as: a model folder, or its adapter alone, with all that is needed to speak to it.

use std::path::Path;

use anyhow::Result;
use modern::model_folder::TextEnds;
use modern::{Sampler, model_folder};
use tensor_core::Parameters;

use crate::{LoraConfig, Speech, Tuning, lora, peft_folder};

/// All that belongs to a model but its weights.
#[derive(Debug)]
pub struct Keeper<'a> {
    /// Tokens and template.
    pub speech: &'a Speech,
    /// Where its texts begin and end.
    pub ends: &'a TextEnds,
    /// How its makers would have its tokens chosen.
    pub sampler: Option<&'a Sampler>,
    /// The adapters, if it has any, and the name of the model that they are for.
    pub lora: Option<(&'a LoraConfig, &'a str)>,
}

impl Keeper<'_> {
    /// Writes `model/` into a run's folder; of a model with adapters, `adapter/`.
    ///
    /// # Errors
    /// When a file cannot be written.
    pub fn save(&self, folder: &Path, tuning: &Tuning) -> Result<()> {
        let Some((config, base)) = self.lora else {
            return self.save_model(&folder.join("model"), tuning, &tuning.parameters);
        };
        let folder = folder.join("adapter");
        let Speech { tokenizer, template, .. } = self.speech;
        tokenizer.save(&folder, tuning.config.context, Some(template))?;
        peft_folder::save(&folder, &tuning.parameters, config, base)
    }

    /// Writes `model/`, adapters merged into it. The run's own weights are afterwards as before, up to rounding.
    ///
    /// # Errors
    /// When a weight is quantized, or a file cannot be written.
    pub fn save_merged(&self, folder: &Path, tuning: &Tuning) -> Result<()> {
        lora::merge(&tuning.parameters)?;
        let merged = tuning.parameters.without_adapters();
        let saved = self.save_model(&folder.join("model"), tuning, &merged);
        lora::unmerge(&tuning.parameters)?;
        saved
    }

    fn save_model(&self, folder: &Path, tuning: &Tuning, parameters: &Parameters) -> Result<()> {
        let Speech { tokenizer, template, .. } = self.speech;
        tokenizer.save(folder, tuning.config.context, Some(template))?;
        model_folder::save(folder, &tuning.config, parameters, self.ends, self.sampler)
    }
}
