//! 4.4 All that a run is between two steps: what a checkpoint holds, so that it goes on bit for bit.

use std::path::Path;

use anyhow::{Context, Result, ensure};
use candle_core::backprop::GradStore;
use candle_core::{DType, Device};
use modern::{GptModern, ModelConfig};
use serde::{Deserialize, Serialize};
use serde_json::json;
use tensor_core::{AdamW, AdamWConfig, Parameters, Rng, weights};
use tiny_gpt::json_file;

use crate::grad_scaler::GradScaler;
use crate::{Dataset, LoaderState, TrainConfig, model_folder};

const MODEL_FILE: &str = "model.safetensors";
const OPTIMIZER_FILE: &str = "optimizer.safetensors";
const PROGRESS_FILE: &str = "state.json";

/// A model in training.
pub struct PretrainState {
    /// What the model is.
    pub config: ModelConfig,
    /// Its weights in f32, whatever it computes in.
    pub parameters: Parameters,
    /// Their moments.
    pub optimizer: AdamW,
    /// What is neither.
    pub progress: PretrainProgress,
}

/// What a run knows beside its tensors.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PretrainProgress {
    /// Optimizer steps taken; the schedule's place too.
    pub step: usize,
    /// How far the data was read.
    #[serde(alias = "cursor")]
    pub loader_state: LoaderState,
    /// The scale of the loss, in f16.
    #[serde(alias = "scaler")]
    pub grad_scaler: Option<GradScaler>,
    /// The best validation loss so far.
    #[serde(alias = "best")]
    pub best_loss: Option<f64>,
}

impl PretrainState {
    /// A fresh model that is to compute in `dtype`, drawn from `seed`.
    ///
    /// # Errors
    /// When the configuration is none.
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
        let scaler = (dtype == DType::F16).then(GradScaler::default);
        let state = PretrainProgress {
            step: 0,
            loader_state: LoaderState::default(),
            grad_scaler: scaler,
            best_loss: None,
        };
        Ok(Self { config: model, parameters, optimizer, progress: state })
    }

    /// The model that learns the next step: the weights as they are now, rounded to what it computes in.
    ///
    /// # Errors
    /// When memory is short.
    pub fn model_in_compute_dtype(&self, config: &TrainConfig) -> Result<GptModern> {
        let mut rounded = self.parameters.with_compute_dtype(config.dtype);
        let dropout = rounded.root().dropout(config.dropout);
        let model = GptModern::new(&self.config, rounded.root())?;
        Ok(model.for_training(dropout, config.gradient_checkpointing))
    }

    /// What the loss is multiplied by.
    pub fn loss_scale(&self) -> f64 {
        self.progress.grad_scaler.as_ref().map_or(1., GradScaler::scale)
    }

    /// Divides by it what came of that.
    ///
    /// # Errors
    /// When memory is short.
    pub fn unscale(&self, grads: &mut GradStore) -> Result<()> {
        let scaler = self.progress.grad_scaler.as_ref();
        scaler.map_or(Ok(()), |scaler| scaler.unscale(grads, &self.parameters))
    }

    /// Whether a step with gradients of this norm is to be taken.
    ///
    /// # Errors
    /// As [`LossScaler::accepts`].
    pub fn update_grad_scaler(&mut self, norm: f64) -> Result<bool> {
        self.progress.grad_scaler.as_mut().map_or(Ok(true), |scaler| scaler.update(norm))
    }

    /// Writes the checkpoint `folder` of a run on `data`: a model folder with the rest of the run beside it.
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

    /// Opens the checkpoint `folder` of such a model in training on `data`.
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
        let state: PretrainProgress = serde_json::from_value(state["state"].take())
            .with_context(|| format!("{} is no state of a run", path.display()))?;

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
        Ok(Self { config: model, parameters, optimizer, progress: state })
    }
}
