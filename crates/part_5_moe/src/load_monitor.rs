//! Monitoring of the expert load: during training, and of a trained model on a text.

use anyhow::Result;
use experiment::loss_curve::Curve;
use serde::{Deserialize, Serialize};
use tiny_gpt::{Batch, LanguageModel};

use crate::expert_load::ExpertLoad;
use crate::model::GptMoe;

/// Steps between two points of the load curve.
const LOG_INTERVAL: usize = 10;

/// Expert load of each layer of `model`, an inference copy, on `tokens`.
///
/// # Errors
/// Those of the model's forward pass.
pub fn measure_loads(model: &GptMoe, tokens: &[u32], batch_size: usize) -> Result<Vec<ExpertLoad>> {
    let mut loads = vec![ExpertLoad::default(); model.config().model.n_layer];
    for batch in Batch::consecutive(tokens, batch_size, model.context_len(), model.device()) {
        let (_, router_outputs) = model.forward_with_routing(&batch?.inputs)?;
        for (load, router_output) in loads.iter_mut().zip(&router_outputs) {
            load.add(&model.load(router_output));
        }
    }
    Ok(loads)
}

/// Max load / mean load of the worst layer.
pub fn max_load_ratio(loads: &[ExpertLoad]) -> f64 {
    loads.iter().map(ExpertLoad::max_load_ratio).fold(0., f64::max)
}

/// Expert load over a training run, part of its checkpoints.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct LoadMonitor {
    /// Max load / mean load of the worst layer in each interval, with its last step.
    points: Vec<(usize, f64)>,
    steps: usize,
    /// Load of each layer since the last point of the curve.
    interval_loads: Vec<ExpertLoad>,
    total_load: ExpertLoad,
}

impl LoadMonitor {
    /// Adds a step with these loads of the layers; a dense model has none.
    pub(crate) fn update(&mut self, loads: &[ExpertLoad]) {
        if loads.is_empty() {
            return;
        }
        self.steps += 1;
        self.interval_loads.resize(loads.len(), ExpertLoad::default());
        for (interval_load, load) in self.interval_loads.iter_mut().zip(loads) {
            interval_load.add(load);
            self.total_load.add(load);
        }
        if self.steps.is_multiple_of(LOG_INTERVAL) {
            self.push_point();
        }
    }

    fn push_point(&mut self) {
        self.points.push((self.steps, max_load_ratio(&self.interval_loads)));
        self.interval_loads.clear();
    }

    /// Fraction of the assignments dropped so far.
    pub(crate) fn dropped_fraction(&self) -> f64 {
        self.total_load.dropped_fraction()
    }

    /// Max load / mean load of the worst layer, by step.
    pub(crate) fn curve(mut self) -> Curve {
        if !self.interval_loads.is_empty() {
            self.push_point();
        }
        let mut curve = Curve::new("load");
        self.points.iter().for_each(|&(step, ratio)| curve.push(step, ratio));
        curve
    }
}
