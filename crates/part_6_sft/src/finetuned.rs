//! Fine-tuned model for inference: from a run folder, a model folder, or a model with an adapter.

use std::path::{Path, PathBuf};

use anyhow::Result;
use candle_core::Device;
use experiment::RunFolder;
use experiment::model_runs::initial_model;
use model_io::{
    LoadMode, ensure_model_saved, find_adapter, locate_adapter, locate_model, peft_folder,
};
use modern::{Checkpoint, GptModern};

use crate::ChatTokenizer;
use crate::model_flags::FinetunedFlags;

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
        let variables = self.chat_template.variables(&self.model)?;
        let base_folder = Some(self.run_or_model().join("base")).filter(|path| path.is_dir());
        let Some((source, adapter)) = self.base_and_adapter()? else {
            let source = resolve_model_path(&self.model)?;
            let checkpoint = Checkpoint::open(&source, LoadMode::Inference, device)?;
            let mut checkpoint = checkpoint.with_chat_variables(&variables);
            let chat_tokenizer = ChatTokenizer::from_checkpoint(&mut checkpoint, self.template)?;
            return Ok(FinetunedModel {
                model: checkpoint.model,
                chat_tokenizer,
                without_adapter: None,
                base_folder,
            });
        };
        let mode = LoadMode::DequantizedInference;
        let checkpoint = Checkpoint::open_with_adapter(&source, &adapter, mode, device)?;
        let mut checkpoint = checkpoint.with_chat_variables(&variables);
        let chat_tokenizer = ChatTokenizer::from_checkpoint(&mut checkpoint, self.template)?;
        let Checkpoint { model, parameters, .. } = checkpoint;
        let mut without = parameters.for_inference().without_adapters();
        let without = GptModern::new(model.config(), without.root())?;
        Ok(FinetunedModel { model, chat_tokenizer, without_adapter: Some(without), base_folder })
    }

    /// Base model and folder of the adapter: of `--adapter`, of a run that saved one, or of an
    /// adapter that `--model` names. `None` for a model without adapter.
    ///
    /// # Errors
    /// When an adapter cannot be downloaded, or its base model is unknown.
    pub(crate) fn base_and_adapter(&self) -> Result<Option<(String, PathBuf)>> {
        let run = Path::new(&self.model);
        let inside = |name: &str| Some(run.join(name)).filter(|path| path.is_dir());
        let (adapter, is_model) = match &self.adapter {
            Some(adapter) => (Some(locate_adapter(adapter)?), false),
            None => match inside("adapter") {
                Some(adapter) => (Some(adapter), false),
                None => (find_adapter(&locate_model(&self.model)?), true),
            },
        };
        let Some(adapter) = adapter else { return Ok(None) };
        let base = match inside("base") {
            Some(base) => base.to_string_lossy().into_owned(),
            None if is_model => peft_folder::base_model(&adapter)?,
            None => base_model_of_run(run)?.unwrap_or_else(|| self.model.clone()),
        };
        Ok(Some((base, adapter)))
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
            None => base_model_of_run(&self.run_or_model()),
        }
    }

    /// Model or adapter whose run trained the weights: `--adapter` if it belongs to a run, else
    /// `--model`.
    pub fn trained_model(&self) -> &str {
        let of_run = |adapter: &&str| RunFolder::find_run(Path::new(adapter)).is_some();
        self.adapter.as_deref().filter(of_run).unwrap_or(&self.model)
    }

    /// Folder of the run that `--model` belongs to, else `--model`. Beside an `--adapter` the model
    /// is itself the base.
    fn run_or_model(&self) -> PathBuf {
        let model = Path::new(&self.model);
        let run = RunFolder::find_run(model).filter(|_| self.adapter.is_none());
        run.unwrap_or_else(|| model.to_path_buf())
    }
}

/// Model that the run in `folder` started from, if the folder's settings name one.
fn base_model_of_run(folder: &Path) -> Result<Option<String>> {
    let settings = RunFolder::read_settings(folder)?;
    let model = settings.and_then(|settings| initial_model(folder, &settings));
    model.as_deref().map(resolve_model_path).transpose()
}

/// Path of a model: `model/` or else `adapter/` of a run folder, else `name` itself.
///
/// # Errors
/// When `name` is a run that was stopped before its first validation and has no model.
pub fn resolve_model_path(name: &str) -> Result<String> {
    let run = Path::new(name);
    let model = run.join("model");
    if model.is_dir() {
        return Ok(model.to_string_lossy().into_owned());
    }
    if peft_folder::is_adapter(&run.join("adapter")) {
        return Ok(run.join("adapter").to_string_lossy().into_owned());
    }
    ensure_model_saved(run)?;
    Ok(name.to_string())
}
