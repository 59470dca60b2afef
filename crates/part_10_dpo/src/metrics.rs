//! Metrics of a step or a validation, under TRL's names; `loss_accuracy` is ours.
//!
//! TRL's `rewards/accuracies` compares summed log-ratios, whatever the loss. A loss that compares
//! means per token may order a pair the other way round, so its own order is measured, too.
//!
//! Both log-probabilities are logged, not the margin alone: DPO raises the margin, and the chosen
//! completion may become less likely all the while (Razin et al., <https://arxiv.org/abs/2410.05779>).

use anyhow::Result;
use candle_core::{Device, Tensor};
use experiment::statistics::mean;
use reward::metrics::{accuracy, mean_margin};
use serde::Serialize;
use serde_json::{Map, Value, json};

use crate::batch_log_probs::BatchLogProbs;
use crate::losses::{DpoLoss, LossTotals};
use crate::preference_example::{Label, PreferenceExample, PreferenceType};

/// Metrics of labeled completions.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct DpoMetrics {
    /// Loss.
    pub loss: f64,
    /// Mean reward of the chosen completions.
    #[serde(rename = "rewards/chosen")]
    pub rewards_chosen: f64,
    /// Mean reward of the rejected completions.
    #[serde(rename = "rewards/rejected")]
    pub rewards_rejected: f64,
    /// Fraction of pairs whose chosen completion has the higher reward, a tie counting one half;
    /// `None` without pairs.
    #[serde(rename = "rewards/accuracies")]
    pub reward_accuracy: Option<f64>,
    /// Fraction of pairs whose chosen completion has the higher [score](DpoLoss::scores) of the
    /// loss itself, a tie counting one half; `None` without pairs, or if the loss orders nothing.
    #[serde(rename = "loss_accuracy")]
    pub accuracy: Option<f64>,
    /// Mean difference of the rewards.
    #[serde(rename = "rewards/margins")]
    pub margin: f64,
    /// Mean log π of the chosen completions.
    #[serde(rename = "logps/chosen")]
    pub log_probs_chosen: f64,
    /// Mean log π of the rejected completions.
    #[serde(rename = "logps/rejected")]
    pub log_probs_rejected: f64,
    /// KTO's estimate of KL(π ‖ π_ref); 0 for other losses.
    pub kl: f64,
    /// Mean log(π/π_ref)/|y| of the chosen completions: below 0, they have become less likely.
    #[serde(skip)]
    pub chosen_log_ratio_per_token: f64,
    /// Largest |log(π/π_ref)| of all completions.
    #[serde(skip)]
    pub max_log_ratio: f64,
}

impl DpoMetrics {
    /// Metrics of `examples` with these `log_probs` under the policy, for a step whose totals are
    /// `totals`.
    ///
    /// # Errors
    /// When memory is short.
    pub fn new(
        loss: &DpoLoss,
        examples: &[PreferenceExample],
        log_probs: &[f64],
        totals: &LossTotals,
    ) -> Result<Self> {
        let batch = batch_log_probs(&Tensor::new(log_probs, &Device::Cpu)?, examples)?;
        let rewards: Vec<f64> = loss.rewards(&batch)?.to_vec1()?;
        let reference: Vec<f64> = batch.reference.to_vec1()?;
        let n_tokens: Vec<f64> = batch.n_tokens.to_vec1()?;
        let ratios: Vec<f64> = log_probs.iter().zip(reference).map(|(p, q)| p - q).collect();
        let ratios_per_token: Vec<f64> = ratios.iter().zip(n_tokens).map(|(r, n)| r / n).collect();
        let of = |values: &[f64], label: Label| -> Vec<f64> {
            let labeled = values.iter().zip(&batch.labels);
            labeled.filter(|(_, other)| **other == label).map(|(value, _)| *value).collect()
        };
        let mean_of = |values: &[f64], label| {
            let values = of(values, label);
            if values.is_empty() { f64::NAN } else { mean(&values) }
        };
        let is_paired = examples.iter().all(|example| example.labels.len() == 2);
        let pairs_of = |values: &[f64]| -> Vec<[f64; 2]> {
            let sides = of(values, Label::Chosen).into_iter().zip(of(values, Label::Rejected));
            sides.map(|(chosen, rejected)| [chosen, rejected]).collect()
        };
        let pairs = pairs_of(&rewards);
        let scores = loss.scores(&batch)?.map(|scores| scores.to_vec1::<f64>()).transpose()?;
        let (chosen, rejected) =
            (mean_of(&rewards, Label::Chosen), mean_of(&rewards, Label::Rejected));
        Ok(Self {
            loss: f64::from(loss.compute(&batch, totals)?.to_scalar::<f32>()?),
            rewards_chosen: chosen,
            rewards_rejected: rejected,
            reward_accuracy: is_paired.then(|| accuracy(&pairs)),
            accuracy: scores.filter(|_| is_paired).map(|scores| accuracy(&pairs_of(&scores))),
            margin: if is_paired { mean_margin(&pairs) } else { chosen - rejected },
            log_probs_chosen: mean_of(log_probs, Label::Chosen),
            log_probs_rejected: mean_of(log_probs, Label::Rejected),
            kl: totals.kl,
            chosen_log_ratio_per_token: mean_of(&ratios_per_token, Label::Chosen),
            max_log_ratio: ratios.iter().fold(0., |max, ratio| ratio.abs().max(max)),
        })
    }

    /// Metrics as fields of a row, without the loss, with `prefix` before their names. Means
    /// without a completion are left out.
    pub fn row(&self, prefix: &str) -> Value {
        let Value::Object(fields) = json!(self) else { return Value::Null };
        let fields = fields.into_iter().filter(|(name, value)| name != "loss" && !value.is_null());
        Value::Object(Map::from_iter(
            fields.map(|(name, value)| (format!("{prefix}{name}"), value)),
        ))
    }
}

/// Totals of a step on `examples`, with the estimate `kl` of KL(π ‖ π_ref).
pub fn loss_totals(loss: &DpoLoss, examples: &[PreferenceExample], kl: f64) -> LossTotals {
    let labels = || examples.iter().flat_map(|example| &example.labels);
    let completions = examples.iter().flat_map(|example| &example.group.completions);
    let labeled = labels().zip(completions).filter(|(label, _)| **label == Label::Chosen);
    let n_losses = match loss.loss_type.preference_type() {
        PreferenceType::Paired => examples.len(),
        PreferenceType::Unpaired => labels().count(),
    };
    let n_chosen_tokens = labeled.map(|(_, completion)| completion.tokens.len()).sum();
    LossTotals { n_losses, n_chosen_tokens, kl }
}

/// Log-probabilities of the completions of `examples`, of which `policy` has those under the
/// policy: (R).
///
/// # Errors
/// When memory is short.
pub fn batch_log_probs(policy: &Tensor, examples: &[PreferenceExample]) -> Result<BatchLogProbs> {
    let reference: Vec<f64> = examples.iter().flat_map(|e| e.ref_log_probs.clone()).collect();
    let completions = examples.iter().flat_map(|example| &example.group.completions);
    let n_tokens: Vec<usize> = completions.map(|completion| completion.tokens.len()).collect();
    let labels = examples.iter().flat_map(|example| example.labels.iter().copied()).collect();
    Ok(BatchLogProbs::new(policy, &reference, &n_tokens, labels)?)
}
