//! 4.4 Hyperparameters of a run, and its complete state between two steps. A checkpoint holds all
//! of it, so a resumed run continues bit for bit; it is a model folder, too.

use std::path::Path;

use anyhow::{Context, Result};
use candle_core::backprop::GradStore;
use candle_core::{DType, Device};
use experiment::TrainState;
use model_io::{
    ChatTemplate, GenerationConfig, ModelConfig, SpecialTokenIds, TensorNames, Tokenizer,
    model_folder,
};
use modern::{Checkpoint, GptModern, GradientCheckpointing, Sampler};
use serde::{Deserialize, Serialize};
use tensor_core::{OptimizerConfig, Parameters};

use crate::grad_scaler::GradScaler;
use crate::{LoaderState, LrSchedule};

/// Hyperparameters that determine the result.
#[derive(Debug, Clone, Copy)]
pub struct TrainConfig {
    /// Sequences per micro-batch.
    pub batch_size: usize,
    /// Micro-batches per optimizer step.
    pub grad_accum_steps: usize,
    /// Learning-rate schedule, which includes the number of steps.
    pub schedule: LrSchedule,
    /// Optimizer, and its hyperparameters.
    pub optimizer: OptimizerConfig,
    /// Maximum gradient norm.
    pub max_grad_norm: f64,
    /// Dropout probability.
    pub dropout: f64,
    /// Data type of the model's computations.
    pub dtype: DType,
    /// Gradient checkpointing.
    pub gradient_checkpointing: GradientCheckpointing,
    /// Seed of the shuffle.
    pub seed: u64,
}

/// Model, optimizer and progress of a pretraining run.
pub struct PretrainState {
    /// Configuration of the model.
    pub config: ModelConfig,
    /// Tokens per training window, at most the model's context length.
    pub window_len: usize,
    /// Settings of the model that the run goes on with, saved with its weights; `None` for a new
    /// model.
    origin: Option<OriginalSettings>,
    /// Weights (in f32, whatever the compute dtype is), optimizer state, step and best loss.
    pub train: TrainState,
    /// Position in the data, and loss scale.
    pub progress: PretrainProgress,
}

/// Settings that a model has beside its weights and its tokenizer.
struct OriginalSettings {
    special_ids: SpecialTokenIds,
    sampler: Option<Sampler>,
    chat_template: Option<ChatTemplate>,
}

/// Progress of pretraining beside step and best loss: data position and loss scale.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PretrainProgress {
    /// Position in the training data.
    #[serde(alias = "cursor")]
    pub loader_state: LoaderState,
    /// Loss scaler, for f16 only.
    #[serde(alias = "scaler")]
    pub grad_scaler: Option<GradScaler>,
    /// Number of steps that were skipped because their gradients overflowed f16.
    #[serde(default)]
    pub n_skipped_steps: usize,
}

impl PretrainProgress {
    /// Progress of a new run that computes in `dtype`.
    fn new(dtype: DType) -> Self {
        let grad_scaler = (dtype == DType::F16).then(GradScaler::default);
        Self { loader_state: LoaderState::default(), grad_scaler, n_skipped_steps: 0 }
    }
}

impl PretrainState {
    /// State of a new run: a model initialized from `seed` that computes in `dtype`.
    ///
    /// # Errors
    /// When the configuration is invalid.
    pub fn new(
        config: ModelConfig,
        optimizer: OptimizerConfig,
        dtype: DType,
        seed: u64,
        device: &Device,
    ) -> Result<Self> {
        let mut parameters = Parameters::seeded(seed, DType::F32, device);
        GptModern::new(&config, parameters.root())?;
        let train = TrainState::new(parameters, optimizer)?;
        let (window_len, progress) = (config.context_len, PretrainProgress::new(dtype));
        Ok(Self { config, window_len, origin: None, train, progress })
    }

    /// State of a new run that goes on with the model `checkpoint`, which was opened for training,
    /// on windows of `window_len` tokens, at most the model's context length.
    ///
    /// # Errors
    /// When memory is short.
    pub fn continued(
        checkpoint: Checkpoint,
        window_len: usize,
        optimizer: OptimizerConfig,
        dtype: DType,
    ) -> Result<Self> {
        let Checkpoint { model, parameters, special_ids, sampler, chat_template, .. } = checkpoint;
        let config = *model.config();
        let origin = Some(OriginalSettings { special_ids, sampler, chat_template });
        let train = TrainState::new(parameters, optimizer)?;
        Ok(Self { config, window_len, origin, train, progress: PretrainProgress::new(dtype) })
    }

    /// Model for the next training step: the current weights, cast to the compute dtype.
    ///
    /// # Errors
    /// When a tensor operation fails.
    pub fn model_in_compute_dtype(&self, config: &TrainConfig) -> Result<GptModern> {
        let mut rounded = self.train.parameters.with_compute_dtype(config.dtype);
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
        scaler.map_or(Ok(()), |scaler| scaler.unscale(grads, &self.train.parameters))
    }

    /// Updates the loss scale from the gradient norm; returns false if the step must be skipped.
    ///
    /// # Errors
    /// Those of [`GradScaler::update`].
    pub fn update_grad_scaler(&mut self, grad_norm: f64) -> Result<bool> {
        self.progress.grad_scaler.as_mut().map_or(Ok(true), |scaler| scaler.update(grad_norm))
    }

    /// Saves the model and its tokenizer in `folder`, for part 3 and transformers. A new model is
    /// trained on documents of which each follows the end-of-text token of the previous one, so
    /// that token is its bos too.
    ///
    /// # Errors
    /// When a file cannot be written.
    pub fn save_model(&self, folder: &Path, tokenizer: &Tokenizer) -> Result<()> {
        let origin = self.origin.as_ref();
        let chat_template = origin.and_then(|origin| origin.chat_template.as_ref());
        tokenizer.save(folder, self.config.context_len, chat_template)?;
        let special_ids = match (origin, tokenizer.eos()) {
            (Some(origin), _) => origin.special_ids.clone(),
            (None, eos) => SpecialTokenIds { bos: eos, eos: eos.into_iter().collect() },
        };
        let sampler = origin.and_then(|origin| origin.sampler.as_ref());
        let (parameters, generation) =
            (&self.train.parameters, sampler.map(GenerationConfig::from));
        model_folder::save(folder, &self.config, parameters, &special_ids, generation.as_ref())
    }

    /// Saves a checkpoint of a run on the data `data_id` in `folder`: a model folder, plus
    /// optimizer and progress.
    ///
    /// # Errors
    /// When a file cannot be written.
    pub fn save(&self, folder: &Path, tokenizer: &Tokenizer, data_id: &str) -> Result<()> {
        self.save_model(folder, tokenizer)?;
        if TensorNames::of(&self.config).has_transposed() {
            self.train.save_trained_weights(folder)?;
        }
        self.train.save_without_weights(folder, data_id, &self.progress)
    }

    /// Restores the checkpoint `folder` of a run on the data `data_id`.
    ///
    /// # Errors
    /// When a file is missing, or belongs to another model or other data.
    pub fn restore(&mut self, folder: &Path, data_id: &str) -> Result<()> {
        let progress = self.train.restore(folder, data_id)?;
        self.progress = serde_json::from_value(progress)
            .with_context(|| format!("{} is not of a pretraining run", folder.display()))?;
        Ok(())
    }
}
