//! An eye on the load: over a run, and of a trained model on a text.

use anyhow::Result;
use tiny_gpt::loss_curve::Curve;
use tiny_gpt::{Batch, LanguageModel};

use crate::load::Load;
use crate::model::GptMoe;

/// Steps between two points of the curve of the load.
const INTERVAL: usize = 10;

/// The load of each layer of an inference twin on `tokens`.
///
/// # Errors
/// As the model's forward pass.
pub fn loads_on(model: &GptMoe, tokens: &[u32], batch_size: usize) -> Result<Vec<Load>> {
    let mut loads = vec![Load::default(); model.config().model.n_layer];
    for batch in Batch::consecutive(tokens, batch_size, model.block_size(), model.device()) {
        let (_, routed) = model.forward(&batch?.inputs)?;
        loads.iter_mut().zip(&routed).for_each(|(load, routed)| load.add(&model.load(routed)));
    }
    Ok(loads)
}

/// The largest load over the mean, of the layer that is worst.
pub fn worst(loads: &[Load]) -> f64 {
    loads.iter().map(Load::max_over_mean).fold(0., f64::max)
}

/// The load over a run.
pub(crate) struct Watch {
    curve: Curve,
    steps: usize,
    /// Of each layer, since the last point of the curve.
    recent: Vec<Load>,
    all: Load,
}

impl Watch {
    pub(crate) fn new() -> Self {
        Self { curve: Curve::new("load"), steps: 0, recent: Vec::new(), all: Load::default() }
    }

    /// Another step is done, with such loads of the layers.
    pub(crate) fn step(&mut self, loads: &[Load]) {
        self.steps += 1;
        self.recent.resize(loads.len(), Load::default());
        for (recent, load) in self.recent.iter_mut().zip(loads) {
            recent.add(load);
            self.all.add(load);
        }
        if self.steps.is_multiple_of(INTERVAL) {
            self.point();
        }
    }

    fn point(&mut self) {
        self.curve.push(self.steps, worst(&self.recent));
        self.recent.clear();
    }

    /// The share of choices that were dropped so far.
    pub(crate) fn dropped_share(&self) -> f64 {
        self.all.dropped_share()
    }

    /// The largest load over the mean, of the layer that is worst, by step.
    pub(crate) fn curve(mut self) -> Curve {
        if !self.recent.is_empty() {
            self.point();
        }
        self.curve
    }
}
