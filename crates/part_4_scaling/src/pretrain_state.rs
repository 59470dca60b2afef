//! 4.4 Complete state of a run between two steps. A checkpoint holds all of it, so a resumed run
//! continues bit for bit.

use std::path::Path;

use anyhow::{Context, Result, ensure};
use candle_core::backprop::GradStore;
use candle_core::{DType, Device};
use datasets::Dataset;
use model_io::ModelConfig;
use modern::GptModern;
use serde::{Deserialize, Serialize};
use serde_json::json;
use tensor_core::{AdamW, AdamWConfig, Parameters, Rng, json_file, weights};

use crate::grad_scaler::GradScaler;
use crate::{LoaderState, TrainConfig, model_folder};

const MODEL_FILE: &str = "model.safetensors";
const OPTIMIZER_FILE: &str = "optimizer.safetensors";
const PROGRESS_FILE: &str = "state.json";

/// Model, optimizer and progress of a pretraining run.
pub struct PretrainState {
    /// Configuration of the model.
    pub config: ModelConfig,
    /// Weights in f32, whatever the compute dtype is.
    pub parameters: Parameters,
    /// AdamW with its moments.
    pub optimizer: AdamW,
    /// Progress: step, data position, loss scale, best loss.
    pub progress: PretrainProgress,
}

/// Progress of a run: everything in its state that is not a tensor.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PretrainProgress {
    /// Number of optimizer steps taken, which is also the position in the schedule.
    pub step: usize,
    /// Position in the training data.
    #[serde(alias = "cursor")]
    pub loader_state: LoaderState,
    /// Loss scaler, for f16 only.
    #[serde(alias = "scaler")]
    pub grad_scaler: Option<GradScaler>,
    /// Best validation loss so far.
    #[serde(alias = "best")]
    pub best_loss: Option<f64>,
}

impl PretrainState {
    /// State of a new run: a model initialized from `seed` that computes in `dtype`.
    ///
    /// # Errors
    /// When the configuration is invalid.
    pub fn new(
        model: ModelConfig,
        optimizer: AdamWConfig,
        dtype: DType,
        seed: u64,
        device: &Device,
    ) -> Result<Self> {
        let mut parameters = Parameters::seeded(seed, DType::F32, device);
        GptModern::new(&model, parameters.root())?;
        let optimizer = AdamW::new(&parameters, optimizer)?;
        let grad_scaler = (dtype == DType::F16).then(GradScaler::default);
        let loader_state = LoaderState::default();
        let progress = PretrainProgress { step: 0, loader_state, grad_scaler, best_loss: None };
        Ok(Self { config: model, parameters, optimizer, progress })
    }

    /// Model for the next training step: the current weights, cast to the compute dtype.
    ///
    /// # Errors
    /// When a tensor operation fails.
    pub fn model_in_compute_dtype(&self, config: &TrainConfig) -> Result<GptModern> {
        let mut rounded = self.parameters.with_compute_dtype(config.dtype);
        let dropout = rounded.root().dropout(config.dropout);
        let model = GptModern::new(&self.config, rounded.root())?;
        Ok(model.for_training(dropout, config.gradient_checkpointing))
    }

    /// Loss scale; 1 without loss scaling.
    pub fn loss_scale(&self) -> f64 {
        self.progress.grad_scaler.as_ref().map_or(1., GradScaler::scale)
    }

    /// Divides the gradients by the loss scale.
    ///
    /// # Errors
    /// When a tensor operation fails.
    pub fn unscale(&self, grads: &mut GradStore) -> Result<()> {
        let scaler = self.progress.grad_scaler.as_ref();
        scaler.map_or(Ok(()), |scaler| scaler.unscale(grads, &self.parameters))
    }

    /// Updates the loss scale from the gradient norm; returns false if the step must be skipped.
    ///
    /// # Errors
    /// Those of [`GradScaler::update`].
    pub fn update_grad_scaler(&mut self, grad_norm: f64) -> Result<bool> {
        self.progress.grad_scaler.as_mut().map_or(Ok(true), |scaler| scaler.update(grad_norm))
    }

    /// Saves a checkpoint of a run on `data` in `folder`: a model folder, plus optimizer and
    /// progress.
    ///
    /// # Errors
    /// When a file cannot be written.
    pub fn save(&self, folder: &Path, data: &Dataset) -> Result<()> {
        model_folder::save(folder, self, &data.tokenizer)?;
        weights::save(&folder.join(OPTIMIZER_FILE), &self.optimizer.state_dict()?)?;
        let rng = self.parameters.dropout_rng();
        let state = json!({ "state": self.progress, "dropout_rng": rng, "data": data.sha256() });
        json_file::write(&folder.join(PROGRESS_FILE), &state)
    }

    /// Loads the checkpoint `folder` of a run on `data`.
    ///
    /// # Errors
    /// When a file is missing, or belongs to another model or other data.
    pub fn open(
        folder: &Path,
        model: ModelConfig,
        optimizer: AdamWConfig,
        data: &Dataset,
        device: &Device,
    ) -> Result<Self> {
        let path = folder.join(PROGRESS_FILE);
        let mut state = json_file::read(&path)?;
        ensure!(
            state["data"] == data.sha256(),
            "{} was trained on other data, or with another tokenizer, than --data holds now",
            folder.display()
        );
        let rng: Option<Rng> = serde_json::from_value(state["dropout_rng"].take())?;
        let progress: PretrainProgress = serde_json::from_value(state["state"].take())
            .with_context(|| format!("{} is not the state of a training run", path.display()))?;

        let path = folder.join(MODEL_FILE);
        let tensors = weights::load(&path)?;
        let mut parameters =
            Parameters::from_tensors(tensors, path.display(), 0, DType::F32, device);
        GptModern::new(&model, parameters.root())?;
        parameters.ensure_all_used()?;
        if let Some(rng) = rng {
            parameters.set_dropout_rng(rng);
        }
        let mut optimizer = AdamW::new(&parameters, optimizer)?;
        let path = folder.join(OPTIMIZER_FILE);
        optimizer
            .load_state_dict(weights::load(&path)?)
            .with_context(|| format!("{} does not fit the model", path.display()))?;
        Ok(Self { config: model, parameters, optimizer, progress })
    }
}
