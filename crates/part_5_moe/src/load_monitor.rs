//! An eye on the load: over a run, and of a trained model on a text.

use anyhow::Result;
use tiny_gpt::loss_curve::Curve;
use tiny_gpt::{Batch, LanguageModel};

use crate::expert_load::ExpertLoad;
use crate::model::GptMoe;

/// Steps between two points of the curve of the load.
const LOG_INTERVAL: usize = 10;

/// The load of each layer of an inference twin on `tokens`.
///
/// # Errors
/// As the model's forward pass.
pub fn measure_loads(model: &GptMoe, tokens: &[u32], batch_size: usize) -> Result<Vec<ExpertLoad>> {
    let mut loads = vec![ExpertLoad::default(); model.config().model.n_layer];
    for batch in Batch::consecutive(tokens, batch_size, model.context_len(), model.device()) {
        let (_, routed) = model.forward(&batch?.inputs)?;
        loads.iter_mut().zip(&routed).for_each(|(load, routed)| load.add(&model.load(routed)));
    }
    Ok(loads)
}

/// The largest load over the mean, of the layer that is worst.
pub fn max_load_ratio(loads: &[ExpertLoad]) -> f64 {
    loads.iter().map(ExpertLoad::max_load_ratio).fold(0., f64::max)
}

/// The load over a run.
pub(crate) struct LoadMonitor {
    curve: Curve,
    steps: usize,
    /// Of each layer, since the last point of the curve.
    interval_loads: Vec<ExpertLoad>,
    total_load: ExpertLoad,
}

impl LoadMonitor {
    pub(crate) fn new() -> Self {
        Self {
            curve: Curve::new("load"),
            steps: 0,
            interval_loads: Vec::new(),
            total_load: ExpertLoad::default(),
        }
    }

    /// Another step is done, with such loads of the layers.
    pub(crate) fn update(&mut self, loads: &[ExpertLoad]) {
        self.steps += 1;
        self.interval_loads.resize(loads.len(), ExpertLoad::default());
        for (recent, load) in self.interval_loads.iter_mut().zip(loads) {
            recent.add(load);
            self.total_load.add(load);
        }
        if self.steps.is_multiple_of(LOG_INTERVAL) {
            self.push_point();
        }
    }

    fn push_point(&mut self) {
        self.curve.push(self.steps, max_load_ratio(&self.interval_loads));
        self.interval_loads.clear();
    }

    /// The share of choices that were dropped so far.
    pub(crate) fn dropped_fraction(&self) -> f64 {
        self.total_load.dropped_fraction()
    }

    /// The largest load over the mean, of the layer that is worst, by step.
    pub(crate) fn curve(mut self) -> Curve {
        if !self.interval_loads.is_empty() {
            self.push_point();
        }
        self.curve
    }
}
