//! State of a run between two steps: weights, optimizer, selection biases, the stream of batches
//! and the expert load. A checkpoint holds all of it, so a resumed run continues bit for bit.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context, Result};
use candle_core::Tensor;
use experiment::TrainState;
use experiment::loss_curve::Curve;
use serde::{Deserialize, Serialize};
use tensor_core::{OptimizerConfig, Parameters, Rng, weights};
use tiny_gpt::LmEvalMetrics;

use crate::load_monitor::LoadMonitor;
use crate::model::is_selection_bias;

/// File of a checkpoint with the selection biases, which the optimizer does not train.
const SELECTION_BIASES: &str = "selection_bias.safetensors";

/// Training state of a dense or an MoE model.
pub struct MoeTrainState {
    /// Weights, optimizer state, step and best loss.
    pub train: TrainState,
    /// Stream of batches, load and best metrics.
    pub progress: MoeProgress,
}

/// Progress of a run beside its step and best loss.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct MoeProgress {
    /// Generator of the batches.
    pub rng: Rng,
    /// Expert load so far.
    pub load_monitor: LoadMonitor,
    /// Best validation metrics so far.
    pub best_eval: Option<LmEvalMetrics>,
}

/// Outcome of a training run.
#[derive(Debug, Clone)]
pub struct MoeTrainOutcome {
    /// Best validation metrics.
    pub best_eval: LmEvalMetrics,
    /// Max load / mean load of the worst layer, by step.
    pub max_load_curve: Curve,
    /// Fraction of the assignments that were dropped.
    pub dropped_fraction: f64,
}

impl MoeTrainState {
    /// State of a new run with `parameters`, whose batches depend on `seed` alone.
    ///
    /// # Errors
    /// When memory is short.
    pub fn new(parameters: Parameters, optimizer: OptimizerConfig, seed: u64) -> Result<Self> {
        let (rng, load_monitor) = (Rng::new(seed), LoadMonitor::default());
        Ok(Self {
            train: TrainState::new(parameters, optimizer)?,
            progress: MoeProgress { rng, load_monitor, best_eval: None },
        })
    }

    /// Outcome of the run so far.
    ///
    /// # Errors
    /// When the run has no validation yet.
    pub fn outcome(&self) -> Result<MoeTrainOutcome> {
        let MoeProgress { load_monitor, best_eval, .. } = &self.progress;
        Ok(MoeTrainOutcome {
            best_eval: best_eval.context("the run has no validation: it has no steps")?,
            dropped_fraction: load_monitor.dropped_fraction(),
            max_load_curve: load_monitor.clone().curve(),
        })
    }

    /// Writes the checkpoint `folder`; `data_id` names the training data.
    ///
    /// # Errors
    /// When a file cannot be written.
    pub fn save(&self, folder: &Path, data_id: &str) -> Result<()> {
        self.train.save_trained_weights(folder)?;
        let biases: BTreeMap<String, Tensor> = self
            .train
            .parameters
            .iter()
            .filter(|parameter| is_selection_bias(&parameter.name))
            .map(|parameter| (parameter.name.clone(), parameter.var.as_detached_tensor()))
            .collect();
        weights::save(&folder.join(SELECTION_BIASES), &biases)?;
        self.train.save_without_weights(folder, data_id, &self.progress)
    }

    /// Restores the checkpoint `folder` of a run on the data `data_id`.
    ///
    /// # Errors
    /// When a file is missing, or belongs to another model or other data.
    pub fn restore(&mut self, folder: &Path, data_id: &str) -> Result<()> {
        let progress = self.train.restore(folder, data_id)?;
        self.progress = serde_json::from_value(progress)
            .with_context(|| format!("{} is not of a run of part 5", folder.display()))?;
        let path = folder.join(SELECTION_BIASES);
        let mut biases = weights::load(&path)?;
        for parameter in self.train.parameters.iter().filter(|it| is_selection_bias(&it.name)) {
            let bias = biases.remove(&parameter.name);
            let bias = bias
                .filter(|bias| bias.shape() == parameter.var.shape())
                .with_context(|| format!("{} lacks `{}`", path.display(), parameter.name))?;
            parameter.var.set(&bias.to_device(parameter.var.device())?)?;
        }
        Ok(())
    }
}
