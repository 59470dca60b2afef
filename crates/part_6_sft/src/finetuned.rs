//! Fine-tuned model for inference: from a run folder, a model folder, or a model with an adapter.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use candle_core::{DType, Device};
use experiment::RunFolder;
use model_io::{ChatTemplate, LoadMode, peft_folder};
use modern::{Checkpoint, GptModern};

use crate::ChatTokenizer;
use crate::flags::FinetunedFlags;

/// Fine-tuned model with its chat tokenizer.
pub struct FinetunedModel {
    /// Model, built for inference.
    pub model: GptModern,
    /// Chat tokenizer.
    pub chat_tokenizer: ChatTokenizer,
    /// Model without its adapter, on the same memory, if it has an adapter.
    pub without_adapter: Option<GptModern>,
    /// Folder of the base model inside the run folder, if there is one.
    pub base_folder: Option<PathBuf>,
}

impl FinetunedFlags {
    /// Opens the model for inference.
    ///
    /// # Errors
    /// When the model or its adapter cannot be opened.
    pub fn open(&self, device: &Device) -> Result<FinetunedModel> {
        let run = Path::new(&self.model);
        let inside = |name: &str| Some(run.join(name)).filter(|path| path.is_dir());
        let base = inside("base");
        let Some(adapter) = self.adapter.clone().or_else(|| inside("adapter")) else {
            let source = resolve_model_path(&self.model);
            let mut checkpoint = Checkpoint::open(&source, LoadMode::Inference, device)?;
            let chat_tokenizer = ChatTokenizer::from_checkpoint(&mut checkpoint, self.template)?;
            return Ok(FinetunedModel {
                model: checkpoint.model,
                chat_tokenizer,
                without_adapter: None,
                base_folder: base,
            });
        };
        let source = match &base {
            Some(base) => base.to_string_lossy().into_owned(),
            None => base_model_of_run(run)?.unwrap_or_else(|| self.model.clone()),
        };
        let opening = || format!("opening {source}, the base model of the adapter");
        let load_mode = LoadMode::Training(DType::F32);
        let mut checkpoint = Checkpoint::open(&source, load_mode, device).with_context(opening)?;
        peft_folder::open(&adapter, &mut checkpoint.parameters)?;
        let own = ChatTemplate::from_folder(&adapter, &checkpoint.tokenizer)?;
        checkpoint.chat_template = own.or(checkpoint.chat_template);
        let chat_tokenizer = ChatTokenizer::from_checkpoint(&mut checkpoint, self.template)?;
        let for_inference = checkpoint.parameters.for_inference();
        let config = checkpoint.model.config();
        let without = GptModern::new(config, for_inference.without_adapters().root())?;
        let model = GptModern::new(config, { for_inference }.root())?;
        Ok(FinetunedModel {
            model,
            chat_tokenizer,
            without_adapter: Some(without),
            base_folder: base,
        })
    }

    /// Path of the base model to compare `finetuned` with: `named` if given, else `base/` of its
    /// run folder, else the model that its run started from. `None` if it is unknown.
    ///
    /// # Errors
    /// When the run's settings cannot be read.
    pub fn base_model(
        &self,
        named: Option<&str>,
        finetuned: &FinetunedModel,
    ) -> Result<Option<String>> {
        let own = finetuned.base_folder.as_ref().map(|base| base.to_string_lossy().into_owned());
        let from_settings = || base_model_of_run(Path::new(&self.model));
        named.map(resolve_model_path).or(own).map_or_else(from_settings, |source| Ok(Some(source)))
    }
}

/// Model that the run in `folder` started from, if the folder's settings name one.
fn base_model_of_run(folder: &Path) -> Result<Option<String>> {
    let settings = RunFolder::read_settings(folder)?;
    let model = settings.as_ref().and_then(|settings| settings["model"].as_str());
    Ok(model.map(resolve_model_path))
}

/// Path of a model: `model/` of a run folder, else `name` itself.
pub fn resolve_model_path(name: &str) -> String {
    let inside = Path::new(name).join("model");
    if inside.is_dir() { inside.to_string_lossy().into_owned() } else { name.to_string() }
}
