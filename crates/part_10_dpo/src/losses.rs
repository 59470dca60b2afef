//! 10.2 DPO's loss and its relatives.
//!
//! ```text
//! log π    = Σ_t log π(y_t | x, y_<t)    over the completion and its EOS; the prompt is masked
//! Δ        = log(π/π_ref)(y⁺) − log(π/π_ref)(y⁻)
//! Δ̄, m     the same with a mean over tokens: log(π/π_ref)/|y|, and m = log π / |y| alone
//!
//! sigmoid        −log σ(βΔ)                                  DPO, arxiv.org/abs/2305.18290
//!   with ε       −(1 − ε) log σ(βΔ) − ε log σ(−βΔ)           conservative DPO (Mitchell 2023)
//! robust         [−(1 − ε) log σ(βΔ) + ε log σ(−βΔ)]/(1 − 2ε)     arxiv.org/abs/2403.00409
//! sigmoid-norm   −log σ(βΔ̄)                                  arxiv.org/abs/2411.15124 (Tülu 3)
//! ipo            (Δ̄ − 1/(2β))²                               arxiv.org/abs/2310.12036
//! hinge          max(0, 1 − βΔ)                              RSO, arxiv.org/abs/2309.06657
//! simpo          −log σ(β(m⁺ − m⁻) − γ)                      arxiv.org/abs/2405.14734
//! orpo           −β log σ(odds(m⁺) − odds(m⁻)) + SFT         arxiv.org/abs/2403.07691
//!                odds(m) = m − log(1 − eᵐ), the log-odds of a probability eᵐ
//! kto            λ⁺ (1 − σ(β(log(π/π_ref)(y) − KL)))  for a chosen y, arxiv.org/abs/2402.01306
//!                λ⁻ (1 − σ(β(KL − log(π/π_ref)(y))))  for a rejected y; no pairs are needed
//! ```
//!
//! IPO divides by the length, as its authors do (the paper's formula does not say so). ORPO and
//! SimPO need no reference. ORPO's SFT term is the mean cross-entropy of the chosen completions;
//! here the prompt has no part in it, while TRL's `ORPOTrainer` learns the prompt, too.
//!
//! Every loss is a sum over pairs divided by the number of pairs of the whole step, and the SFT
//! term a sum over tokens divided by those of the whole step, so micro-batches add up exactly. The
//! numbers are one per completion and cheap: they are computed in f64.

use candle_core::{DType, Result, Tensor};
use reward::losses::softplus;
use serde::Serialize;

use crate::batch_log_probs::BatchLogProbs;
use crate::implicit_reward::implicit_reward;
use crate::preference_example::{Label, PreferenceType};

/// Preference loss with its SFT term.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct DpoLoss {
    /// Loss of a pair, or of a completion.
    pub loss_type: LossType,
    /// β: how much of a log-ratio counts as reward. Small values allow the policy to go far from
    /// the reference.
    pub beta: f64,
    /// Weight of the SFT term, the mean cross-entropy of the chosen completions.
    pub sft_weight: f64,
}

/// Loss of a pair, or of a completion, by TRL's names.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum LossType {
    /// DPO; with `label_smoothing` ε > 0, conservative DPO.
    Sigmoid {
        /// Assumed share ε of wrong labels.
        label_smoothing: f64,
    },
    /// Robust DPO: unbiased when a share ε < ½ of the labels is wrong.
    Robust {
        /// Assumed share ε of wrong labels.
        label_smoothing: f64,
    },
    /// Length-normalized DPO.
    SigmoidNorm,
    /// IPO.
    Ipo,
    /// Hinge loss: SLiC with a reference (RSO).
    Hinge,
    /// KTO, on single completions.
    Kto {
        /// Weight λ⁺ of chosen completions.
        desirable_weight: f64,
        /// Weight λ⁻ of rejected completions.
        undesirable_weight: f64,
    },
    /// ORPO, without a reference.
    Orpo,
    /// SimPO, without a reference.
    Simpo {
        /// Target margin γ.
        gamma: f64,
    },
    /// The SFT term alone: rejection sampling, and a control for losses of pairs.
    Sft,
}

/// Divisors of the losses of a whole step, and KTO's baseline.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct LossTotals {
    /// Number of pairs; for KTO, of completions.
    pub n_losses: usize,
    /// Number of tokens of the chosen completions.
    pub n_chosen_tokens: usize,
    /// KTO's estimate of KL(π ‖ π_ref), at least 0; without a gradient.
    pub kl: f64,
}

impl LossType {
    /// True if the loss compares with a reference model.
    pub fn needs_reference(self) -> bool {
        !matches!(self, Self::Orpo | Self::Simpo { .. } | Self::Sft)
    }

    /// Type of the data that the loss learns from.
    pub fn preference_type(self) -> PreferenceType {
        match self {
            Self::Kto { .. } => PreferenceType::Unpaired,
            _ => PreferenceType::Paired,
        }
    }
}

impl DpoLoss {
    /// DPO without an SFT term.
    pub fn sigmoid(beta: f64) -> Self {
        let loss_type = LossType::Sigmoid { label_smoothing: 0. };
        Self { loss_type, beta, sft_weight: 0. }
    }

    /// Part of `batch` in the loss of a step, (), in f32.
    ///
    /// # Errors
    /// When the shapes differ, or a loss of pairs gets completions that are no pairs.
    pub fn compute(&self, batch: &BatchLogProbs, totals: &LossTotals) -> Result<Tensor> {
        let losses = match self.loss_type {
            LossType::Kto { .. } => self.kto_losses(batch, totals.kl)?, // (R)
            LossType::Sft => batch.policy.zeros_like()?,                // (R)
            _ => {
                let [chosen, rejected] = batch.pairs()?;
                self.pair_losses(&chosen, &rejected)? // (P)
            }
        };
        let loss = (losses.sum_all()? / totals.n_losses as f64)?;
        let loss = match self.sft_weight {
            0. => loss,
            weight => {
                let chosen = (&batch.policy * batch.mask_of(Label::Chosen)?)?.sum_all()?;
                (loss - (chosen * (weight / totals.n_chosen_tokens.max(1) as f64))?)?
            }
        };
        loss.to_dtype(DType::F32)
    }

    /// Loss of each pair: (P), from the log-probabilities of its completions, (P) each.
    ///
    /// # Errors
    /// When the shapes differ, or for KTO, which has no pairs.
    pub fn pair_losses(&self, chosen: &BatchLogProbs, rejected: &BatchLogProbs) -> Result<Tensor> {
        let beta = self.beta;
        // ANCHOR: delta
        let delta = (chosen.log_ratios()? - rejected.log_ratios()?)?; // Δ: (P)
        let mean_delta = || chosen.mean_log_ratios()? - rejected.mean_log_ratios()?; // Δ̄: (P)
        let z = (&delta * beta)?;
        // ANCHOR_END: delta
        match self.loss_type {
            // ANCHOR: pair_losses
            LossType::Sigmoid { label_smoothing: 0. } => negative_log_sigmoid(&z),
            LossType::Sigmoid { label_smoothing } => {
                let right = (negative_log_sigmoid(&z)? * (1. - label_smoothing))?;
                right + (negative_log_sigmoid(&z.neg()?)? * label_smoothing)?
            }
            LossType::Robust { label_smoothing } => {
                let right = (negative_log_sigmoid(&z)? * (1. - label_smoothing))?;
                let flipped = (negative_log_sigmoid(&z.neg()?)? * label_smoothing)?;
                (right - flipped)? / (1. - 2. * label_smoothing)
            }
            LossType::SigmoidNorm => negative_log_sigmoid(&(mean_delta()? * beta)?),
            LossType::Ipo => (mean_delta()? - 1. / (2. * beta))?.sqr(),
            LossType::Hinge => (1. - z)?.relu(),
            // ANCHOR_END: pair_losses
            LossType::Orpo => {
                let [chosen, rejected] =
                    [chosen, rejected].map(|side| side.mean_log_probs().and_then(|m| log_odds(&m)));
                negative_log_sigmoid(&(chosen? - rejected?)?)? * beta
            }
            LossType::Simpo { gamma } => {
                let margin = (chosen.mean_log_probs()? - rejected.mean_log_probs()?)?;
                negative_log_sigmoid(&((margin * beta)? - gamma)?)
            }
            LossType::Kto { .. } | LossType::Sft => {
                candle_core::bail!("{:?} is a loss of single completions", self.loss_type)
            }
        }
    }

    /// KTO's loss of each completion, with the estimate `kl` of KL(π ‖ π_ref): (R).
    fn kto_losses(&self, batch: &BatchLogProbs, kl: f64) -> Result<Tensor> {
        let LossType::Kto { desirable_weight, undesirable_weight } = self.loss_type else {
            candle_core::bail!("{:?} is a loss of pairs", self.loss_type)
        };
        let signs = (batch.mask_of(Label::Chosen)? - batch.mask_of(Label::Rejected)?)?; // ±1: (R)
        let weights = ((batch.mask_of(Label::Chosen)? * desirable_weight)?
            + (batch.mask_of(Label::Rejected)? * undesirable_weight)?)?; // λ: (R)
        let z = ((batch.log_ratios()? - kl)? * signs)?;
        let value = negative_log_sigmoid(&(z * self.beta)?)?.neg()?.exp()?; // σ: (R)
        (1. - value)? * weights
    }

    /// Reward of each completion as TRL logs it, (R): the implicit reward β log(π/π_ref), or β m of
    /// a loss without a reference.
    ///
    /// # Errors
    /// When the shapes differ.
    pub fn rewards(&self, batch: &BatchLogProbs) -> Result<Tensor> {
        match self.loss_type.needs_reference() {
            true => implicit_reward(&batch.policy, &batch.reference, self.beta),
            false => batch.mean_log_probs()? * self.beta,
        }
    }

    /// Score by which the loss orders the completions of a pair, (R): the reward, or for losses of
    /// log-ratios per token β log(π/π_ref)/|y|. `None` for a loss that orders nothing.
    ///
    /// # Errors
    /// When the shapes differ.
    pub fn scores(&self, batch: &BatchLogProbs) -> Result<Option<Tensor>> {
        match self.loss_type {
            LossType::Sft => Ok(None),
            LossType::SigmoidNorm | LossType::Ipo => {
                Ok(Some((batch.mean_log_ratios()? * self.beta)?))
            }
            _ => self.rewards(batch).map(Some),
        }
    }
}

/// −log σ(x) = softplus(−x), finite for every x: (P) -> (P).
fn negative_log_sigmoid(x: &Tensor) -> Result<Tensor> {
    softplus(&x.neg()?)
}

/// Log-odds log(p/(1 − p)) of probabilities p = eᵐ from their logarithms m ≤ 0: (P) -> (P). A
/// probability of 1 counts as a little less, so that the odds stay finite.
fn log_odds(m: &Tensor) -> Result<Tensor> {
    const CLOSEST_TO_0: f64 = -1e-9;
    let m = m.minimum(CLOSEST_TO_0)?;
    &m - (1. - m.exp()?)?.log()?
}
