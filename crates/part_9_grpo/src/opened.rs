//! The models that a command names: a run's, a model folder, a model with an adapter; and how they are spoken to.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use candle_core::{DType, Device};
use modern::{ChatTemplate, Checkpoint, GptModern, Purpose};
use sft::{Format, Speech, peft_folder};
use tiny_gpt::RunFolder;

/// A model for inference.
pub struct Opened {
    /// The model.
    pub model: GptModern,
    /// How it is spoken to.
    pub speech: Speech,
    /// Any of these ends what it says.
    pub stop: Vec<u32>,
    /// Without its adapter, on the same memory, if it has one.
    pub without: Option<GptModern>,
}

/// What `name` means as a model: of a run folder its model, else what it says.
pub fn source(name: &str) -> String {
    let inside = Path::new(name).join("model");
    if inside.is_dir() { inside.to_string_lossy().into_owned() } else { name.to_string() }
}

/// The tokens that end what a model says: what it learned to end with, and what its files say.
pub fn stop(checkpoint: &Checkpoint, speech: &Speech) -> Vec<u32> {
    let mut stop = vec![speech.end()];
    stop.extend(checkpoint.ends.eos.iter().filter(|id| **id != speech.end()));
    stop
}

impl Opened {
    /// Opens `name`, which may be a run folder, with the adapter in `adapter` or in the run.
    ///
    /// # Errors
    /// When something cannot be read, or does not fit.
    pub fn open(
        name: &str,
        adapter: Option<&Path>,
        template: Option<Format>,
        device: &Device,
    ) -> Result<Self> {
        let own = Path::new(name).join("adapter");
        let adapter = adapter.map(PathBuf::from).or_else(|| own.is_dir().then_some(own));
        let merged = Path::new(name).join("model").is_dir();
        let Some(adapter) = adapter.filter(|_| !merged) else {
            let mut checkpoint = Checkpoint::open(&source(name), Purpose::Inference, device)?;
            let speech = Speech::of(&mut checkpoint, template)?;
            let stop = stop(&checkpoint, &speech);
            return Ok(Self { model: checkpoint.model, speech, stop, without: None });
        };
        let settings = RunFolder::settings(Path::new(name))?;
        let base = match settings.as_ref().map(|settings| settings["model"].as_str()) {
            Some(base) => source(base.context("the run does not say which model it began with")?),
            None => name.to_string(),
        };
        let purpose = Purpose::Training(DType::F32);
        let mut checkpoint = Checkpoint::open(&base, purpose, device)?;
        peft_folder::open(&adapter, &mut checkpoint.parameters)?;
        let own = ChatTemplate::from_folder(&adapter, &checkpoint.tokenizer)?;
        checkpoint.template = own.or(checkpoint.template);
        let speech = Speech::of(&mut checkpoint, template)?;
        let stop = stop(&checkpoint, &speech);
        let (twin, config) = (checkpoint.parameters.inference(), checkpoint.model.config());
        let without = GptModern::new(config, twin.without_adapters().root())?;
        let model = GptModern::new(config, { twin }.root())?;
        Ok(Self { model, speech, stop, without: Some(without) })
    }
}
