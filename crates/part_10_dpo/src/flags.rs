//! Flags of the preference loss, shared by `train` and `eval`. TRL's names are accepted as well:
//! `loss_type`, `label_smoothing`, `simpo_gamma`, `desirable_weight`.

use anyhow::Result;
use clap::{Args, ValueEnum};
use experiment::number::{fraction, non_negative, positive};
use experiment::program::ensure_usage;
use serde::Serialize;

use crate::losses::{DpoLoss, LossType};

/// Flags of the preference loss.
#[derive(Debug, Clone, Copy, Args, Serialize)]
#[command(next_help_heading = "Algorithm")]
pub struct LossFlags {
    /// Preference loss; kto also reads rows of prompt, completion and label
    #[arg(long, visible_alias = "loss-type", value_enum, default_value_t)]
    pub loss: LossName,
    /// β: small values allow the policy to go far from the reference [default: 0.1; sigmoid-norm 5,
    /// simpo 2, where TRL has 0.1]
    #[arg(long, value_name = "X", value_parser = positive)]
    pub beta: Option<f64>,
    /// Assumed share of wrong labels, for --loss sigmoid (conservative DPO) and robust [default: 0]
    #[arg(long, value_name = "P", value_parser = fraction)]
    pub label_smoothing: Option<f64>,
    /// Target margin γ, for --loss simpo [default: 1, where TRL has 0.5]
    #[arg(long, value_name = "X", value_parser = non_negative)]
    pub simpo_gamma: Option<f64>,
    /// Weight of the cross-entropy of the chosen completions [default: 0; orpo and sft 1]
    #[arg(long, alias = "rpo-alpha", value_name = "X", value_parser = non_negative)]
    pub sft_weight: Option<f64>,
    /// Weight of desirable completions, for --loss kto [default: 1]
    #[arg(long, value_name = "X", value_parser = non_negative)]
    pub desirable_weight: Option<f64>,
    /// Weight of undesirable completions, for --loss kto [default: 1]
    #[arg(long, value_name = "X", value_parser = non_negative)]
    pub undesirable_weight: Option<f64>,
}

/// Name of a preference loss.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum LossName {
    /// DPO, −log σ(βΔ)
    #[default]
    Sigmoid,
    /// Robust DPO, unbiased under wrong labels
    Robust,
    /// DPO with log-ratios per token
    #[value(alias = "sigmoid_norm")]
    SigmoidNorm,
    /// IPO, a squared error of the log-ratios per token
    Ipo,
    /// max(0, 1 − βΔ)
    Hinge,
    /// KTO, on single completions that are desirable or not
    Kto,
    /// ORPO: SFT and the odds ratio, without a reference
    Orpo,
    /// SimPO: log-probabilities per token, without a reference
    Simpo,
    /// Cross-entropy of the chosen completions alone, a control
    Sft,
}

impl LossFlags {
    /// Line for the start of a run whose loss has a default that is not TRL's; `None` without one.
    pub fn note_on_defaults(&self) -> Option<String> {
        let (beta, gamma) = (self.beta.is_none(), self.simpo_gamma.is_none());
        let defaults = match (self.loss, beta, gamma) {
            (LossName::Simpo, true, true) => {
                "β is 2 and γ 1, while TRL's defaults are 0.1 and 0.5: --beta 0.1 --simpo-gamma 0.5"
            }
            (LossName::Simpo, true, false) => "β is 2, while TRL's default is 0.1: --beta 0.1",
            (LossName::Simpo, false, true) => {
                "γ is 1, while TRL's default is 0.5: --simpo-gamma 0.5"
            }
            (LossName::SigmoidNorm, true, _) => "β is 5, while TRL's default is 0.1: --beta 0.1",
            _ => return None,
        };
        Some(format!("defaults of this loss: {defaults}"))
    }

    /// Loss that the flags select.
    ///
    /// # Errors
    /// A [`UsageError`](experiment::program::UsageError) when a flag is given that the loss does
    /// not have, or robust DPO gets half of the labels wrong.
    pub fn config(&self) -> Result<DpoLoss> {
        let name = self.loss;
        let has_smoothing = matches!(name, LossName::Sigmoid | LossName::Robust);
        let weights = self.desirable_weight.or(self.undesirable_weight);
        let flags = [
            ("--label-smoothing", self.label_smoothing, has_smoothing, "sigmoid and robust"),
            ("--simpo-gamma", self.simpo_gamma, name == LossName::Simpo, "simpo"),
            ("--desirable-weight and --undesirable-weight", weights, name == LossName::Kto, "kto"),
        ];
        for (flag, value, is_used, losses) in flags {
            let message = format!("{flag}: for --loss {losses} alone");
            ensure_usage(value.is_none() || is_used, message)?;
        }
        let label_smoothing = self.label_smoothing.unwrap_or(0.);
        ensure_usage(
            name != LossName::Robust || label_smoothing < 0.5,
            format!("--label-smoothing {label_smoothing}: robust DPO needs less than 0.5"),
        )?;
        let loss_type = match name {
            LossName::Sigmoid => LossType::Sigmoid { label_smoothing },
            LossName::Robust => LossType::Robust { label_smoothing },
            LossName::SigmoidNorm => LossType::SigmoidNorm,
            LossName::Ipo => LossType::Ipo,
            LossName::Hinge => LossType::Hinge,
            LossName::Kto => LossType::Kto {
                desirable_weight: self.desirable_weight.unwrap_or(1.),
                undesirable_weight: self.undesirable_weight.unwrap_or(1.),
            },
            LossName::Orpo => LossType::Orpo,
            LossName::Simpo => LossType::Simpo { gamma: self.simpo_gamma.unwrap_or(1.) },
            LossName::Sft => LossType::Sft,
        };
        let beta = match name {
            LossName::SigmoidNorm => 5.,
            LossName::Simpo => 2.,
            _ => 0.1,
        };
        let sft_weight = if matches!(name, LossName::Orpo | LossName::Sft) { 1. } else { 0. };
        Ok(DpoLoss {
            loss_type,
            beta: self.beta.unwrap_or(beta),
            sft_weight: self.sft_weight.unwrap_or(sft_weight),
        })
    }
}
