//! 8.4 What an update did, and what is read off on the way.

use anyhow::Result;
use candle_core::{DType, Tensor};

use crate::kl::{KlEstimator, ratio};
use crate::losses::{clip_fraction, value_clip_fraction};
use crate::masked::{masked, masked_mean};
use crate::update::PpoUpdateConfig;

/// What an update did; means over its mini-batches.
#[derive(Debug, Clone, Copy, Default, serde::Serialize)]
pub struct PpoUpdateMetrics {
    /// −min(r A, clip(r) A)
    pub policy_loss: f64,
    /// ½ (V − R)²
    pub value_loss: f64,
    /// Nats per token.
    pub entropy: f64,
    /// Share of the tokens whose ratio left the clip.
    pub clip_fraction: f64,
    /// Share of the tokens whose value did.
    pub value_clip_fraction: f64,
    /// The largest ratio of all.
    pub ratio_max: f64,
    /// The furthest from 1 that a ratio of the first mini-batch was, before any step.
    pub first_ratio_error: f64,
    /// How far the policy has moved at the last mini-batch, in nats per token (k3).
    pub approx_kl: f64,
    /// Of the policy's gradient, before clipping.
    pub grad_norm: f64,
    /// Of the critic's.
    pub critic_grad_norm: f64,
    /// Steps of the optimizers.
    pub updates: usize,
    /// Tokens that the models read.
    pub tokens_read: usize,
}

/// What is read off a mini-batch: its parts add up, each weighted by its tokens.
#[derive(Default)]
pub(crate) struct MinibatchMetrics {
    policy_loss: f64,
    value_loss: f64,
    entropy: f64,
    clip_fraction: f64,
    value_clip_fraction: f64,
    ratio_max: f64,
    pub(crate) ratio_error: f64,
    /// Nats per token.
    pub(crate) approx_kl: f64,
    pub(crate) tokens_read: usize,
}

/// What a part of a mini-batch was found to be, token by token; all of one shape, (R, T).
pub(crate) struct TokenTensors<'a> {
    pub(crate) mask: &'a Tensor,
    /// log π now and when they were drawn.
    pub(crate) log_probs: [&'a Tensor; 2],
    /// V now, in the rollout, and what it is to become.
    pub(crate) values: [&'a Tensor; 3],
    /// The losses of policy and value, and the entropy.
    pub(crate) losses: [&'a Tensor; 3],
}

impl MinibatchMetrics {
    /// Adds a part that has the share `share` of the mini-batch's tokens.
    pub(crate) fn add_micro_batch(
        &mut self,
        tokens: &TokenTensors<'_>,
        share: f64,
        config: &PpoUpdateConfig,
    ) -> Result<()> {
        let TokenTensors {
            mask, log_probs: [now, old], values: [value, old_value, returns], ..
        } = *tokens;
        let (now, value) = (&now.detach(), &value.detach());
        let mean = |x: &Tensor| -> Result<f64> {
            let x = x.detach().to_dtype(DType::F64)?;
            Ok(share * masked_mean(&x, mask)?.to_scalar::<f64>()?)
        };
        let [policy_loss, value_loss, entropy] = tokens.losses;
        self.policy_loss += mean(policy_loss)?;
        self.value_loss += mean(value_loss)?;
        self.entropy += mean(entropy)?;
        self.approx_kl += mean(&KlEstimator::K3.estimate(old, now)?)?;
        self.clip_fraction += share * clip_fraction(now, old, mask, config.clip_range)?;
        if let Some(clip) = config.value_clip_range {
            let values = [value, old_value, returns];
            self.value_clip_fraction += share * value_clip_fraction(values, mask, clip)?;
        }
        let ratio = masked(&ratio(now, old)?, mask)?;
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
    /// Adds what was seen of a mini-batch.
    pub(crate) fn add_minibatch(&mut self, seen: &MinibatchMetrics) {
        self.policy_loss += seen.policy_loss;
        self.value_loss += seen.value_loss;
        self.entropy += seen.entropy;
        self.clip_fraction += seen.clip_fraction;
        self.value_clip_fraction += seen.value_clip_fraction;
        self.ratio_max = self.ratio_max.max(seen.ratio_max);
        self.approx_kl = seen.approx_kl;
        self.tokens_read += seen.tokens_read;
    }

    /// The sums over `n` mini-batches as means.
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
