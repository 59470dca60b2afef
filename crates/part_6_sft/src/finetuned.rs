//! Fine-tuned model for inference: from a run folder, a model folder, or a model with an adapter.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
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
        let variables = self.chat_template.variables(&self.model)?;
        let inside = |name: &str| Some(run.join(name)).filter(|path| path.is_dir());
        let base = inside("base");
        let is_adapter = self.adapter.is_none() && peft_folder::is_adapter(run);
        let own_adapter = || is_adapter.then(|| run.to_path_buf()).or_else(|| inside("adapter"));
        let Some(adapter) = self.adapter.clone().or_else(own_adapter) else {
            let source = resolve_model_path(&self.model)?;
            let checkpoint = Checkpoint::open(&source, LoadMode::Inference, device)?;
            let mut checkpoint = checkpoint.with_chat_variables(&variables);
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
            None if is_adapter => peft_folder::base_model(run)?,
            None => base_model_of_run(run)?.unwrap_or_else(|| self.model.clone()),
        };
        let opening = || format!("opening {source}, the base model of the adapter");
        let load_mode = LoadMode::Training(DType::F32);
        let mut checkpoint = Checkpoint::open(&source, load_mode, device).with_context(opening)?;
        peft_folder::open(&adapter, &mut checkpoint.parameters)?;
        let own = ChatTemplate::from_folder(&adapter, &checkpoint.tokenizer)?;
        checkpoint.chat_template = own.or(checkpoint.chat_template);
        let mut checkpoint = checkpoint.with_chat_variables(&variables);
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
        match named.map(resolve_model_path).transpose()?.or(own) {
            Some(source) => Ok(Some(source)),
            None => base_model_of_run(Path::new(&self.model)),
        }
    }
}

/// Model that the run in `folder` started from, if the folder's settings name one.
fn base_model_of_run(folder: &Path) -> Result<Option<String>> {
    let settings = RunFolder::read_settings(folder)?;
    let model = settings.as_ref().and_then(|settings| settings["model"].as_str());
    model.map(resolve_model_path).transpose()
}

/// Path of a model: `model/` of a run folder, else `name` itself.
///
/// # Errors
/// When `name` is a run that has no model: it was stopped before its first validation, or it has an
/// adapter alone.
pub fn resolve_model_path(name: &str) -> Result<String> {
    let run = Path::new(name);
    let model = run.join("model");
    if model.is_dir() {
        return Ok(model.to_string_lossy().into_owned());
    }
    let is_run = RunFolder::read_settings(run)?.is_some();
    ensure!(
        !is_run || !run.join("adapter").is_dir(),
        "{name} is a run with an adapter and no model: add --merge to its --resume"
    );
    ensure!(
        !is_run,
        "{name} is a run that was stopped before it saved a model: continue it with --resume, or \
         start it again if it has no checkpoint"
    );
    Ok(name.to_string())
}
