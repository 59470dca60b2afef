//! The model that programs are asked about: a run's, a model folder, or a model with an adapter.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use candle_core::{DType, Device};
use modern::{ChatTemplate, Checkpoint, GptModern, LoadMode};
use tiny_gpt::RunFolder;

use crate::flags::FinetunedFlags;
use crate::{ChatTokenizer, peft_folder};

/// A model that was tuned, and how it is spoken to.
pub struct FinetunedModel {
    /// Its inference twin.
    pub model: GptModern,
    /// How it is spoken to.
    pub chat_tokenizer: ChatTokenizer,
    /// Without its adapter, on the same memory, if it has one.
    pub without_adapter: Option<GptModern>,
    /// The base model of the run that it comes from, if the run has one of its own.
    pub base_folder: Option<PathBuf>,
}

impl FinetunedFlags {
    /// Opens it for inference.
    ///
    /// # Errors
    /// When there is none.
    pub fn open(&self, device: &Device) -> Result<FinetunedModel> {
        let run = Path::new(&self.model);
        let inside = |name: &str| Some(run.join(name)).filter(|path| path.is_dir());
        let base = inside("base");
        let adapter = self.adapter.clone().or_else(|| inside("adapter"));
        let source = match (&adapter, inside("model"), &base) {
            (None, Some(model), _) => model.to_string_lossy().into_owned(),
            (Some(_), _, Some(base)) => base.to_string_lossy().into_owned(),
            (Some(_), _, None) => base_model_of_run(run)?.unwrap_or_else(|| self.model.clone()),
            (None, None, _) => self.model.clone(),
        };
        let opening = || format!("opening {source}, which the adapter is for");
        let Some(adapter) = adapter else {
            let mut checkpoint = Checkpoint::open(&source, LoadMode::Inference, device)?;
            let speech = ChatTokenizer::from_checkpoint(&mut checkpoint, self.template)?;
            return Ok(FinetunedModel {
                model: checkpoint.model,
                chat_tokenizer: speech,
                without_adapter: None,
                base_folder: base,
            });
        };
        let purpose = LoadMode::Training(DType::F32);
        let mut checkpoint = Checkpoint::open(&source, purpose, device).with_context(opening)?;
        peft_folder::open(&adapter, &mut checkpoint.parameters)?;
        let own = ChatTemplate::from_folder(&adapter, &checkpoint.tokenizer)?;
        checkpoint.chat_template = own.or(checkpoint.chat_template);
        let speech = ChatTokenizer::from_checkpoint(&mut checkpoint, self.template)?;
        let twin = checkpoint.parameters.for_inference();
        let config = checkpoint.model.config();
        let without = GptModern::new(config, twin.without_adapters().root())?;
        let model = GptModern::new(config, { twin }.root())?;
        Ok(FinetunedModel {
            model,
            chat_tokenizer: speech,
            without_adapter: Some(without),
            base_folder: base,
        })
    }
}

impl FinetunedFlags {
    /// Where the model is that the `tuned` one is compared with: the one that is `named`, or the one that its run began with, the run's
    /// own `base` first. Nothing where none is known.
    ///
    /// # Errors
    /// When the run's settings cannot be read.
    pub fn base_model(
        &self,
        named: Option<&str>,
        tuned: &FinetunedModel,
    ) -> Result<Option<String>> {
        let own = tuned.base_folder.as_ref().map(|base| base.to_string_lossy().into_owned());
        let begun_with = || base_model_of_run(Path::new(&self.model));
        named.map(resolve_model_path).or(own).map_or_else(begun_with, |source| Ok(Some(source)))
    }
}

/// The model that the run in `folder` began with, if it is a run and says so.
fn base_model_of_run(folder: &Path) -> Result<Option<String>> {
    let settings = RunFolder::read_settings(folder)?;
    let model = settings.as_ref().and_then(|settings| settings["model"].as_str());
    Ok(model.map(resolve_model_path))
}

/// What `name` means as a model: of a run folder its model, else what it says.
pub fn resolve_model_path(name: &str) -> String {
    let inside = Path::new(name).join("model");
    if inside.is_dir() { inside.to_string_lossy().into_owned() } else { name.to_string() }
}
