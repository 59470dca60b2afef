//! 10.2 Numbers of a batch that its loss depends on: log π and log π_ref of whole completions,
//! their lengths and labels.
//!
//! ```text
//! log π, log π_ref     (R), sums over the tokens of each completion
//! log(π/π_ref)         the log-ratio, which DPO compares between the sides of a pair
//! log(π/π_ref)/|y|     the same per token; IPO and length-normalized DPO compare these
//! ```

use candle_core::{DType, Device, Result, Tensor};

use crate::preference_example::Label;

/// Log-probabilities of the R completions of a batch, in f64.
#[derive(Debug, Clone)]
pub struct BatchLogProbs {
    /// log π of each completion: (R).
    pub policy: Tensor,
    /// log π_ref of each completion: (R).
    pub reference: Tensor,
    /// Number of tokens |y| of each completion: (R).
    pub n_tokens: Tensor,
    /// Label of each completion. In batches of pairs, the i-th chosen one and the i-th rejected one
    /// are a pair.
    pub labels: Vec<Label>,
}

impl BatchLogProbs {
    /// Batch of completions with these log-probabilities under the policy, (R), and under the
    /// reference, and numbers of tokens.
    ///
    /// # Errors
    /// When memory is short.
    pub fn new(
        policy: &Tensor,
        reference: &[f64],
        n_tokens: &[usize],
        labels: Vec<Label>,
    ) -> Result<Self> {
        let n_tokens = n_tokens.iter().map(|&n| n as f64);
        Ok(Self {
            policy: policy.to_dtype(DType::F64)?,
            reference: Tensor::new(reference, policy.device())?,
            n_tokens: Tensor::from_iter(n_tokens, policy.device())?,
            labels,
        })
    }

    /// log(π/π_ref) of each completion: (R).
    pub(crate) fn log_ratios(&self) -> Result<Tensor> {
        &self.policy - &self.reference
    }

    /// log(π/π_ref)/|y| of each completion: (R).
    pub(crate) fn mean_log_ratios(&self) -> Result<Tensor> {
        self.log_ratios()? / &self.n_tokens
    }

    /// m = log π / |y| of each completion: (R).
    pub(crate) fn mean_log_probs(&self) -> Result<Tensor> {
        &self.policy / &self.n_tokens
    }

    /// Chosen and rejected completions of the P pairs, (P) each.
    pub(crate) fn pairs(&self) -> Result<[Self; 2]> {
        let [chosen, rejected] =
            [self.with_label(Label::Chosen)?, self.with_label(Label::Rejected)?];
        if chosen.labels.len() != rejected.labels.len() {
            candle_core::bail!(
                "{} chosen and {} rejected completions are no pairs",
                chosen.labels.len(),
                rejected.labels.len()
            );
        }
        Ok([chosen, rejected])
    }

    fn with_label(&self, label: Label) -> Result<Self> {
        let indices = (0..self.labels.len()).filter(|&i| self.labels[i] == label);
        let indices: Vec<u32> = indices.map(|i| i as u32).collect();
        let indices = Tensor::new(indices, self.policy.device())?;
        let select = |x: &Tensor| x.index_select(&indices, 0);
        Ok(Self {
            policy: select(&self.policy)?,
            reference: select(&self.reference)?,
            n_tokens: select(&self.n_tokens)?,
            labels: vec![label; indices.elem_count()],
        })
    }

    /// 1 at completions with `label`, else 0: (R).
    pub(crate) fn mask_of(&self, label: Label) -> Result<Tensor> {
        let mask = self.labels.iter().map(|&other| f64::from(u8::from(other == label)));
        Tensor::from_iter(mask, self.device())
    }

    fn device(&self) -> &Device {
        self.policy.device()
    }
}
