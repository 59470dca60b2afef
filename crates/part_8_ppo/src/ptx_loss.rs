//! 8.4 PTX loss (PPO-ptx, Ouyang et al., <https://arxiv.org/abs/2203.02155>): the SFT loss mixed
//! into the PPO objective, so that what is not rewarded is not forgotten.
//!
//! ```text
//! loss + γ_ptx · mean of −log π(token)   over completions of part 6's examples
//! ```

use anyhow::Result;
use candle_core::Tensor;
use experiment::LengthGrouping;
use modern::GptModern;
use ranks::Ranks;
use sft::{BatchSampler, Curriculum, SftBatch, TokenizedExample};

/// SFT loss over batches of examples, weighted by the PTX coefficient.
#[derive(Debug)]
pub struct PtxLoss {
    examples: Vec<TokenizedExample>,
    sampler: BatchSampler,
    ptx_coef: f64,
    /// Index of the next batch.
    next_batch: usize,
}

impl PtxLoss {
    /// PTX loss over batches of `batch_size` of `examples`, shuffled by `seed`, times `ptx_coef`.
    ///
    /// # Panics
    /// When there are no examples, or `batch_size` is 0.
    pub fn new(
        examples: Vec<TokenizedExample>,
        ptx_coef: f64,
        batch_size: usize,
        seed: u64,
    ) -> Self {
        let lengths = examples.iter().map(|example| example.ids.len()).collect();
        let sampler = BatchSampler::new(lengths, Curriculum::Shuffled, batch_size, seed);
        Self { examples, sampler, ptx_coef, next_batch: 0 }
    }

    /// Continues with batch `number` of a run whose examples are grouped by `grouping`.
    pub fn seek_batch(&mut self, number: usize, grouping: LengthGrouping) {
        self.sampler.set_grouping(grouping);
        self.next_batch = number;
    }

    /// Part of this one of the `ranks` in the weighted loss of `model` on the next batch: ().
    /// `None` if it has no example of it.
    ///
    /// # Errors
    /// When an example is longer than the model's context.
    pub fn loss(&mut self, model: &GptModern, ranks: &Ranks) -> Result<Option<Tensor>> {
        let chosen = self.sampler.batch_indices(self.next_batch).iter();
        let chosen: Vec<TokenizedExample> =
            chosen.map(|&example| self.examples[example].clone()).collect();
        self.next_batch += 1;
        let own = &chosen[ranks.rows(chosen.len())];
        if own.is_empty() {
            return Ok(None);
        }
        let n_targets: usize = chosen.iter().map(TokenizedExample::n_targets).sum();
        let batch = SftBatch::padded(own, model.device())?;
        let share = batch.n_targets() as f64 / n_targets as f64;
        Ok(Some((batch.loss(model)? * (self.ptx_coef * share))?))
    }
}
