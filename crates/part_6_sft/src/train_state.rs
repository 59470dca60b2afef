//! A model in fine-tuning, and its checkpoints: what is trained, the optimizer's moments, and the step. What is frozen is in the
//! model that the run began with, and is not written again.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context, Result, bail, ensure};
use candle_core::Tensor;
use modern::ModelConfig;
use scaling::sha256;
use serde::{Deserialize, Serialize};
use serde_json::json;
use tensor_core::{AdamW, AdamWConfig, Parameter, Parameters, Rng, weights};
use tiny_gpt::json_file;

use crate::{LoraConfig, lora};

const TRAINED: &str = "trained.safetensors";
const OPTIMIZER: &str = "optimizer.safetensors";
const STATE: &str = "state.json";

/// A model in fine-tuning.
pub struct TrainState {
    /// What the model is.
    pub config: ModelConfig,
    /// Its weights, frozen ones and adapters among them.
    pub parameters: Parameters,
    /// Moments of those that are trained.
    pub optimizer: AdamW,
    /// What is neither.
    pub progress: TrainProgress,
    /// Names the weights that are not trained by what they are.
    frozen_sha256: Option<String>,
}

/// What a run knows beside its tensors.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct TrainProgress {
    /// Optimizer steps taken.
    pub step: usize,
    /// The best validation loss so far.
    #[serde(alias = "best")]
    pub best_loss: Option<f64>,
    /// Whether the model is as good as was asked for.
    #[serde(alias = "passed")]
    pub target_reached: bool,
}

impl TrainProgress {
    /// Whether a model that is so bad, by a loss or a reward's opposite, is to be kept: it is the best so far, which is noted, or it has
    /// passed. What is no number is never the best.
    pub fn update_best_loss(&mut self, badness: f64) -> bool {
        let best = !badness.is_nan() && self.best_loss.is_none_or(|best| badness < best);
        if best || self.target_reached {
            self.best_loss = Some(badness);
        }
        best || self.target_reached
    }
}

impl TrainState {
    /// A run that begins with `parameters`.
    ///
    /// # Errors
    /// When nothing is trainable, or memory is short.
    pub fn new(
        config: ModelConfig,
        parameters: Parameters,
        optimizer: AdamWConfig,
    ) -> Result<Self> {
        ensure!(parameters.trainable().next().is_some(), "nothing in the model is to be trained");
        let optimizer = AdamW::new(&parameters, optimizer)?;
        let frozen = frozen_sha256(&parameters)?;
        Ok(Self {
            config,
            parameters,
            optimizer,
            progress: TrainProgress::default(),
            frozen_sha256: frozen,
        })
    }

    /// A run that begins with the model of these parameters: all of it is trained, or adapters beside it, drawn from `seed`.
    ///
    /// # Errors
    /// When no layer is chosen for an adapter, or as [`TrainState::new`].
    pub fn with_optional_lora(
        config: ModelConfig,
        mut parameters: Parameters,
        lora: Option<&LoraConfig>,
        optimizer: AdamWConfig,
        seed: u64,
    ) -> Result<Self> {
        if let Some(lora) = lora {
            lora::attach(&mut parameters, lora, seed)?;
        }
        Self::new(config, parameters, optimizer)
    }

    /// Whether a run of `total` steps is over.
    pub fn is_finished(&self, total: usize) -> bool {
        self.progress.step == total || self.progress.target_reached
    }

    /// Numbers that are trained, and all.
    pub fn parameter_counts(&self) -> (usize, usize) {
        let trained = self.parameters.trainable().map(|p| p.var.elem_count()).sum();
        (trained, self.parameters.n_parameters())
    }

    /// The same in words.
    pub fn parameter_summary(&self) -> String {
        let (trained, all) = self.parameter_counts();
        let share = 100. * trained as f64 / all as f64;
        format!("{all} parameters, of which {trained} ({share:.2} %) are trained")
    }

    /// Writes the checkpoint `folder`; `data` names what it was trained on.
    ///
    /// # Errors
    /// When a file cannot be written.
    pub fn save(&self, folder: &Path, data: &str) -> Result<()> {
        let trained = self.parameters.trainable();
        let trained: BTreeMap<String, Tensor> =
            trained.map(|p| (p.name.clone(), p.var.as_detached_tensor())).collect();
        weights::save(&folder.join(TRAINED), &trained)?;
        weights::save(&folder.join(OPTIMIZER), &self.optimizer.state_dict()?)?;
        let rng = self.parameters.dropout_rng();
        let state = json!({
            "state": self.progress, "dropout_rng": rng, "data": data, "frozen": self.frozen_sha256,
        });
        json_file::write(&folder.join(STATE), &state)
    }

    /// Goes back, or on, to the checkpoint `folder` of such a run.
    ///
    /// # Errors
    /// When a file is missing, or belongs to another model, other frozen weights or other data.
    pub fn restore(&mut self, folder: &Path, data: &str) -> Result<()> {
        let path = folder.join(STATE);
        let mut state = json_file::read(&path)?;
        ensure!(
            state["data"] == data,
            "{} was trained on other data than --data holds now, or from another model",
            folder.display()
        );
        ensure!(
            state["frozen"] == json!(self.frozen_sha256),
            "{} was trained beside other frozen weights than this model has",
            folder.display()
        );
        let rng: Option<Rng> = serde_json::from_value(state["dropout_rng"].take())?;
        self.progress = serde_json::from_value(state["state"].take())
            .with_context(|| format!("{} is no state of a run", path.display()))?;
        if let Some(rng) = rng {
            self.parameters.set_dropout_rng(rng);
        }
        let path = folder.join(TRAINED);
        let mut trained = weights::load(&path)?;
        for parameter in self.parameters.trainable() {
            let tensor = trained.remove(&parameter.name);
            let tensor = tensor
                .filter(|tensor| tensor.shape() == parameter.var.shape())
                .with_context(|| format!("{} has no such `{}`", path.display(), parameter.name))?;
            parameter.var.set(&tensor.to_device(parameter.var.device())?)?;
        }
        if let Some(name) = trained.keys().next() {
            bail!("{}: `{name}` is not trained in this run", path.display());
        }
        let path = folder.join(OPTIMIZER);
        let restored = self.optimizer.load_state_dict(weights::load(&path)?);
        restored.with_context(|| format!("{} does not fit the model", path.display()))
    }
}

/// A name that follows from the weights that are not trained. A checkpoint lacks them, and is nothing beside others.
fn frozen_sha256(parameters: &Parameters) -> Result<Option<String>> {
    let mut frozen = parameters.iter().filter(|p| !p.trainable).peekable();
    frozen.peek().is_some().then(|| parameters_sha256(frozen)).transpose()
}

/// A name that follows from what `parameters` are called and hold.
///
/// # Errors
/// When they cannot be read from their device.
pub fn parameters_sha256<'a>(parameters: impl Iterator<Item = &'a Parameter>) -> Result<String> {
    let mut named = String::new();
    for Parameter { name, var, .. } in parameters {
        let mut bytes = Vec::new();
        var.as_tensor().write_bytes(&mut bytes)?;
        named.extend([name, " ", &sha256::hash_bytes(&bytes), "\n"]);
    }
    Ok(sha256::hash_bytes(named.as_bytes()))
}
