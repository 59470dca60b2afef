//! 8.4 Update metrics: losses, entropy, clip fractions, approximate KL, gradient norms.

use anyhow::Result;
use candle_core::{DType, Tensor};

use crate::kl::{KlEstimator, ratio};
use crate::losses::{clip_fraction, value_clip_fraction};
use crate::masked::{masked, masked_mean};
use crate::update::PpoUpdateConfig;

/// Metrics of an update; means over its minibatches unless stated otherwise.
#[derive(Debug, Clone, Copy, Default, serde::Serialize)]
pub struct PpoUpdateMetrics {
    /// Policy loss −min(ρ A, clip(ρ) A).
    pub policy_loss: f64,
    /// Value loss ½ max((V − R)², (V_clipped − R)²).
    pub value_loss: f64,
    /// Entropy in nats per token.
    pub entropy: f64,
    /// Fraction of tokens whose ratio is outside the clip range.
    pub clip_fraction: f64,
    /// Fraction of tokens whose value loss is that of the clipped value.
    pub value_clip_fraction: f64,
    /// Largest ratio of the update.
    pub ratio_max: f64,
    /// Largest |ratio − 1| in the first minibatch, before any step.
    pub first_ratio_error: f64,
    /// KL to the rollout policy at the last minibatch, in nats per token (k3).
    pub approx_kl: f64,
    /// Norm of the policy's gradient before clipping, at the last step.
    pub grad_norm: f64,
    /// Norm of the critic's gradient before clipping, at the last step.
    pub critic_grad_norm: f64,
    /// Optimizer steps.
    pub updates: usize,
    /// Input tokens of the models, padding included.
    pub tokens_read: usize,
}

/// Metrics of a minibatch: sums over micro-batches, weighted by their token fractions.
#[derive(Default)]
pub(crate) struct MinibatchMetrics {
    policy_loss: f64,
    value_loss: f64,
    entropy: f64,
    clip_fraction: f64,
    value_clip_fraction: f64,
    ratio_max: f64,
    pub(crate) ratio_error: f64,
    /// KL to the rollout policy, in nats per token.
    pub(crate) approx_kl: f64,
    pub(crate) tokens_read: usize,
}

/// Per-token tensors of a micro-batch, all of shape (R, T).
pub(crate) struct TokenTensors<'a> {
    pub(crate) mask: &'a Tensor,
    /// Current log-probabilities.
    pub(crate) log_probs: &'a Tensor,
    /// Log-probabilities of the rollout.
    pub(crate) old_log_probs: &'a Tensor,
    /// Current values.
    pub(crate) values: &'a Tensor,
    /// Values of the rollout.
    pub(crate) old_values: &'a Tensor,
    pub(crate) returns: &'a Tensor,
    pub(crate) policy_loss: &'a Tensor,
    pub(crate) value_loss: &'a Tensor,
    pub(crate) entropy: &'a Tensor,
}

impl MinibatchMetrics {
    /// Adds a micro-batch with `token_fraction` of the minibatch's tokens.
    pub(crate) fn add_micro_batch(
        &mut self,
        tokens: &TokenTensors<'_>,
        token_fraction: f64,
        config: &PpoUpdateConfig,
    ) -> Result<()> {
        let TokenTensors { mask, old_log_probs, old_values, returns, .. } = *tokens;
        let (log_probs, values) = (&tokens.log_probs.detach(), &tokens.values.detach());
        let mean = |x: &Tensor| -> Result<f64> {
            let x = x.detach().to_dtype(DType::F64)?;
            Ok(token_fraction * masked_mean(&x, mask)?.to_scalar::<f64>()?)
        };
        self.policy_loss += mean(tokens.policy_loss)?;
        self.value_loss += mean(tokens.value_loss)?;
        self.entropy += mean(tokens.entropy)?;
        self.approx_kl += mean(&KlEstimator::K3.estimate(old_log_probs, log_probs)?)?;
        let clipped = clip_fraction(log_probs, old_log_probs, mask, config.clip_range)?;
        self.clip_fraction += token_fraction * clipped;
        if let Some(clip) = config.value_clip_range {
            let values = [values, old_values, returns];
            self.value_clip_fraction += token_fraction * value_clip_fraction(values, mask, clip)?;
        }
        let ratio = masked(&ratio(log_probs, old_log_probs)?, mask)?;
        self.ratio_max = self.ratio_max.max(max_value(&ratio)?);
        let error = masked(&(ratio - 1.)?.abs()?, mask)?;
        self.ratio_error = self.ratio_error.max(max_value(&error)?);
        Ok(())
    }
}

fn max_value(x: &Tensor) -> Result<f64> {
    Ok(f64::from(x.max_all()?.to_scalar::<f32>()?))
}

impl PpoUpdateMetrics {
    /// Adds the metrics of a minibatch.
    pub(crate) fn add_minibatch(&mut self, minibatch: &MinibatchMetrics) {
        self.policy_loss += minibatch.policy_loss;
        self.value_loss += minibatch.value_loss;
        self.entropy += minibatch.entropy;
        self.clip_fraction += minibatch.clip_fraction;
        self.value_clip_fraction += minibatch.value_clip_fraction;
        self.ratio_max = self.ratio_max.max(minibatch.ratio_max);
        self.approx_kl = minibatch.approx_kl;
        self.tokens_read += minibatch.tokens_read;
    }

    /// Means of the sums over `n` minibatches.
    pub(crate) fn mean_over(mut self, n: usize) -> Self {
        let n = n.max(1) as f64;
        for sum in [
            &mut self.policy_loss,
            &mut self.value_loss,
            &mut self.entropy,
            &mut self.clip_fraction,
            &mut self.value_clip_fraction,
        ] {
            *sum /= n;
        }
        self
    }
}
