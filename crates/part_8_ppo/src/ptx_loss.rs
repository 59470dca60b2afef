//! 8.3 PPO-ptx (Ouyang et al., <https://arxiv.org/abs/2203.02155>): some of the old loss beside the new objective, so that what is not
//! rewarded is not forgotten.
//!
//! ```text
//! loss + γ_ptx · mean of −log π(token)   over examples of part 6
//! ```

use anyhow::Result;
use candle_core::Tensor;
use modern::GptModern;
use sft::{BatchSampler, Curriculum, SftBatch, TokenizedExample};

/// Examples that are mixed in.
#[derive(Debug)]
pub struct PtxLoss {
    examples: Vec<TokenizedExample>,
    sampler: BatchSampler,
    ptx_coef: f64,
    /// The batch that comes next.
    next_batch: usize,
}

impl PtxLoss {
    /// `batch_size` of `examples` at a time, shuffled by `seed`, their loss times `coefficient`.
    ///
    /// # Panics
    /// When there are no examples, or `batch_size` is 0.
    pub fn new(
        examples: Vec<TokenizedExample>,
        coefficient: f64,
        batch_size: usize,
        seed: u64,
    ) -> Self {
        let lengths = examples.iter().map(|example| example.ids.len()).collect();
        let order = BatchSampler::new(lengths, Curriculum::Shuffled, batch_size, seed);
        Self { examples, sampler: order, ptx_coef: coefficient, next_batch: 0 }
    }

    /// Goes on with batch `number`.
    pub fn seek_batch(&mut self, number: usize) {
        self.next_batch = number;
    }

    /// The weighted loss of `model` on the next batch: ().
    ///
    /// # Errors
    /// When an example is longer than the model's context.
    pub fn loss(&mut self, model: &GptModern) -> Result<Tensor> {
        let chosen = self.sampler.batch_indices(self.next_batch).iter();
        let chosen: Vec<TokenizedExample> =
            chosen.map(|&example| self.examples[example].clone()).collect();
        self.next_batch += 1;
        Ok((SftBatch::padded(&chosen, model.device())?.loss(model)? * self.ptx_coef)?)
    }
}
