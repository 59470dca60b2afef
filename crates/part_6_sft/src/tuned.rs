//! The model that `sample` and `eval` are asked about: a run's, a model folder, or a model with an adapter.

use std::path::{Path, PathBuf};

use anyhow::Result;
use candle_core::{DType, Device};
use modern::{ChatTemplate, Checkpoint, GptModern, Purpose};
use sft::{Speech, peft_folder};

use crate::arguments::TunedFlags;

/// A model that was tuned, and how it is spoken to.
pub(crate) struct Tuned {
    pub(crate) model: GptModern,
    pub(crate) speech: Speech,
    /// Without its adapter, on the same memory, if it has one.
    pub(crate) without: Option<GptModern>,
    /// The base model of the run that it comes from, if the run has one of its own.
    pub(crate) base: Option<PathBuf>,
}

impl TunedFlags {
    /// Opens it for inference.
    pub(crate) fn open(&self, device: &Device) -> Result<Tuned> {
        let run = Path::new(&self.model);
        let inside = |name: &str| Some(run.join(name)).filter(|path| path.is_dir());
        let base = inside("base");
        let adapter = self.adapter.clone().or_else(|| inside("adapter"));
        let model = match (&adapter, inside("model"), &base) {
            (None, Some(model), _) => model,
            (Some(_), _, Some(base)) => base.clone(),
            _ => run.to_path_buf(),
        };
        let source = model.to_string_lossy();
        let Some(adapter) = adapter else {
            let mut checkpoint = Checkpoint::open(&source, Purpose::Inference, device)?;
            let speech = Speech::of(&mut checkpoint, self.template)?;
            return Ok(Tuned { model: checkpoint.model, speech, without: None, base });
        };
        let purpose = Purpose::Training(DType::F32);
        let mut checkpoint = Checkpoint::open(&source, purpose, device)?;
        peft_folder::open(&adapter, &mut checkpoint.parameters)?;
        let own = ChatTemplate::from_folder(&adapter, &checkpoint.tokenizer)?;
        checkpoint.template = own.or(checkpoint.template);
        let speech = Speech::of(&mut checkpoint, self.template)?;
        let twin = checkpoint.parameters.inference();
        let config = checkpoint.model.config();
        let without = GptModern::new(config, twin.without_adapters().root())?;
        let model = GptModern::new(config, { twin }.root())?;
        Ok(Tuned { model, speech, without: Some(without), base })
    }
}
