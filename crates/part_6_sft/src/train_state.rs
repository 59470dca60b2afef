//! Training state and its checkpoints: trained weights, optimizer moments, and progress. Frozen
//! weights are not written again: the base model of the run has them.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context, Result, bail, ensure};
use candle_core::Tensor;
use model_io::{LoraConfig, ModelConfig};
use serde::{Deserialize, Serialize};
use serde_json::json;
use tensor_core::{AdamW, AdamWConfig, Parameter, Parameters, Rng, json_file, sha256, weights};

use crate::lora;

const TRAINED: &str = "trained.safetensors";
const OPTIMIZER: &str = "optimizer.safetensors";
const STATE: &str = "state.json";

/// Model, optimizer and progress of a run.
pub struct TrainState {
    /// Model configuration.
    pub config: ModelConfig,
    /// Weights, including frozen ones and adapters.
    pub parameters: Parameters,
    /// AdamW state of the trained weights.
    pub optimizer: AdamW,
    /// Step, best validation loss, and whether the target was reached.
    pub progress: TrainProgress,
    /// SHA-256 of the frozen weights, if there are any.
    frozen_sha256: Option<String>,
}

/// Progress of a run, stored in its checkpoints beside the tensors.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct TrainProgress {
    /// Optimizer steps taken.
    pub step: usize,
    /// Best validation loss so far.
    #[serde(alias = "best")]
    pub best_loss: Option<f64>,
    /// True if the validation target was reached.
    #[serde(alias = "passed")]
    pub target_reached: bool,
}

impl TrainProgress {
    /// Records `loss` (or a negative reward) and returns true if the model must be saved: it is the
    /// best so far, or the target was reached. NaN is never the best.
    pub fn update_best_loss(&mut self, loss: f64) -> bool {
        let is_best = !loss.is_nan() && self.best_loss.is_none_or(|best| loss < best);
        if is_best || self.target_reached {
            self.best_loss = Some(loss);
        }
        is_best || self.target_reached
    }
}

impl TrainState {
    /// State of a new run with `parameters`.
    ///
    /// # Errors
    /// When nothing is trainable, or the device is out of memory.
    pub fn new(
        config: ModelConfig,
        parameters: Parameters,
        optimizer: AdamWConfig,
    ) -> Result<Self> {
        ensure!(parameters.trainable().next().is_some(), "the model has no trainable parameter");
        let optimizer = AdamW::new(&parameters, optimizer)?;
        let frozen_sha256 = frozen_sha256(&parameters)?;
        Ok(Self {
            config,
            parameters,
            optimizer,
            progress: TrainProgress::default(),
            frozen_sha256,
        })
    }

    /// State of a new run that trains all of `parameters`, or LoRA adapters drawn from `seed`.
    ///
    /// # Errors
    /// Those of [`lora::attach`] and of [`TrainState::new`].
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

    /// True if a run of `total_steps` steps is over.
    pub fn is_finished(&self, total_steps: usize) -> bool {
        self.progress.step == total_steps || self.progress.target_reached
    }

    /// Number of trained parameters, and of all parameters.
    pub fn parameter_counts(&self) -> (usize, usize) {
        let trained = self.parameters.trainable().map(|p| p.var.elem_count()).sum();
        (trained, self.parameters.n_parameters())
    }

    /// Parameter counts in words.
    pub fn parameter_summary(&self) -> String {
        let (trained, all) = self.parameter_counts();
        let share = 100. * trained as f64 / all as f64;
        format!("{all} parameters, of which {trained} ({share:.2} %) are trained")
    }

    /// Writes the checkpoint `folder`; `data_id` names the training data.
    ///
    /// # Errors
    /// When a file cannot be written.
    pub fn save(&self, folder: &Path, data_id: &str) -> Result<()> {
        let trained = self.parameters.trainable();
        let trained: BTreeMap<String, Tensor> =
            trained.map(|p| (p.name.clone(), p.var.as_detached_tensor())).collect();
        weights::save(&folder.join(TRAINED), &trained)?;
        weights::save(&folder.join(OPTIMIZER), &self.optimizer.state_dict()?)?;
        let rng = self.parameters.dropout_rng();
        let state = json!({
            "state": self.progress, "dropout_rng": rng, "data": data_id,
            "frozen": self.frozen_sha256,
        });
        json_file::write(&folder.join(STATE), &state)
    }

    /// Restores the checkpoint `folder` of such a run.
    ///
    /// # Errors
    /// When a file is missing, or the checkpoint belongs to another model, other frozen weights or
    /// other data.
    pub fn restore(&mut self, folder: &Path, data_id: &str) -> Result<()> {
        let path = folder.join(STATE);
        let mut state = json_file::read(&path)?;
        ensure!(
            state["data"] == data_id,
            "{} was trained on other data than --data now holds, or from another model",
            folder.display()
        );
        ensure!(
            state["frozen"] == json!(self.frozen_sha256),
            "{} was trained with other frozen weights than this model has",
            folder.display()
        );
        let rng: Option<Rng> = serde_json::from_value(state["dropout_rng"].take())?;
        self.progress = serde_json::from_value(state["state"].take())
            .with_context(|| format!("{} is not the state of a run", path.display()))?;
        if let Some(rng) = rng {
            self.parameters.set_dropout_rng(rng);
        }
        let path = folder.join(TRAINED);
        let mut trained = weights::load(&path)?;
        for parameter in self.parameters.trainable() {
            let tensor = trained.remove(&parameter.name);
            let tensor = tensor
                .filter(|tensor| tensor.shape() == parameter.var.shape())
                .with_context(|| {
                    format!("{} has no tensor `{}` of this shape", path.display(), parameter.name)
                })?;
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

/// SHA-256 of the frozen weights, or `None` if all are trained. A checkpoint lacks the frozen
/// weights, and is valid only with the same ones.
fn frozen_sha256(parameters: &Parameters) -> Result<Option<String>> {
    let mut frozen = parameters.iter().filter(|p| !p.trainable).peekable();
    frozen.peek().is_some().then(|| parameters_sha256(frozen)).transpose()
}

/// SHA-256 of the names and values of `parameters`.
///
/// # Errors
/// When they cannot be read from their device.
pub fn parameters_sha256<'a>(parameters: impl Iterator<Item = &'a Parameter>) -> Result<String> {
    let mut names_and_hashes = String::new();
    for Parameter { name, var, .. } in parameters {
        let mut bytes = Vec::new();
        var.as_tensor().write_bytes(&mut bytes)?;
        names_and_hashes.extend([name, " ", &sha256::hash_bytes(&bytes), "\n"]);
    }
    Ok(sha256::hash_bytes(names_and_hashes.as_bytes()))
}
