//! What a mixture of experts is made of, and how it is trained.

use candle_core::{Result, bail};
use modern::ModelConfig;
use modern::config::Mlp;
use serde::Serialize;

/// Everything that decides a [`GptMoe`](crate::GptMoe)'s shape.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct MoeConfig {
    /// All but the experts; its feed-forward layer says what *one* expert is like.
    pub model: ModelConfig,
    /// Who goes where.
    pub router: RouterConfig,
    /// What stands beside the experts.
    pub dense_branch: DenseBranch,
}

/// Who goes where, and how much it counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RouterConfig {
    /// E
    pub n_expert: usize,
    /// K, experts per token.
    pub top_k: usize,
    /// What an expert's answer counts.
    pub gate_weights: GateWeights,
    /// What the K experts are chosen by.
    pub expert_selection: ExpertSelection,
}

/// What an expert's answer counts, p being the softmax over *all* experts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum GateWeights {
    /// p divided by the sum over the chosen ones, so that the weights of a token add up to 1: Mixtral. With K = 1 the weight
    /// is always 1, and the task's loss teaches the router nothing.
    Renormalized,
    /// p as it is: Switch Transformer. The weights add up to less than 1.
    Raw,
    /// p · E / K: raw weights of a router without an opinion would make its experts K / E as loud as a dense layer, and this makes
    /// them as loud; in the spirit of DeepSeek-V2's fixed scaling factor, <https://arxiv.org/abs/2405.04434>.
    Scaled,
}

/// What experts are chosen by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ExpertSelection {
    /// By p.
    Probability,
    /// By p + b, with a bias b that is moved against the load and never enters a weight: DeepSeek-V3.
    Biased,
}

/// What stands beside the experts.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum DenseBranch {
    /// Nothing.
    None,
    /// α · dense + (1 − α) · experts (5.3).
    Weighted {
        /// α, from 0 to 1.
        dense_weight: f64,
    },
}

/// What a router has to bear in training and never else.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize)]
pub struct RouterTrainingConfig {
    /// The router's input is multiplied by random numbers from 1 − ε to 1 + ε; 0 for none.
    pub jitter: f64,
    /// An expert takes at most this many times N K / E tokens, and drops the others; `None`: all that come.
    pub capacity_factor: Option<f64>,
}

/// How the load is kept even.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct LoadBalancing {
    /// Weight of the load-balancing loss.
    pub aux_loss_coef: f64,
    /// Weight of the router z-loss.
    pub z_loss_coef: f64,
    /// How far a step moves the bias of [`ExpertSelection::Biased`].
    pub bias_update_rate: f64,
}

impl RouterConfig {
    /// `top_k` of `n_expert` experts, weighted as Mixtral does where that is more than one, by scaled probabilities where it is one.
    pub fn new(n_expert: usize, top_k: usize) -> Self {
        let weights = if top_k == 1 { GateWeights::Scaled } else { GateWeights::Renormalized };
        Self {
            n_expert,
            top_k,
            gate_weights: weights,
            expert_selection: ExpertSelection::Probability,
        }
    }

    /// # Errors
    /// When there are no experts, or the number per token is not from 1 to that.
    pub fn check(&self) -> Result<()> {
        let Self { n_expert, top_k, .. } = *self;
        if n_expert == 0 {
            bail!("the number of experts is 0");
        }
        if top_k == 0 || top_k > n_expert {
            bail!("{top_k} experts per token of {n_expert}: must be from 1 to {n_expert}");
        }
        Ok(())
    }
}

impl MoeConfig {
    /// Experts in place of the feed-forward layer of `dense`, each so wide that the K of a token are together as wide as that
    /// was, rounded up: but for the rounding and the router, the same arithmetic for every token.
    ///
    /// # Errors
    /// As [`MoeConfig::check`].
    pub fn with_flops_of(dense: &ModelConfig, router: RouterConfig) -> Result<Self> {
        router.check()?;
        let narrow = |width: usize| width.div_ceil(router.top_k);
        let mlp = match dense.mlp {
            Mlp::SwiGlu { width } => Mlp::SwiGlu { width: narrow(width) },
            Mlp::Gelu { width, form } => Mlp::Gelu { width: narrow(width), form },
        };
        let config =
            Self { model: ModelConfig { mlp, ..*dense }, router, dense_branch: DenseBranch::None };
        config.check()?;
        Ok(config)
    }

    /// # Errors
    /// When the model's or the router's sizes do not fit, or α is no share.
    pub fn check(&self) -> Result<()> {
        self.model.validate()?;
        self.router.check()?;
        match self.dense_branch {
            DenseBranch::Weighted { dense_weight: dense_share }
                if !(0. ..=1.).contains(&dense_share) =>
            {
                bail!("a dense share of {dense_share} is not between 0 and 1")
            }
            _ => Ok(()),
        }
    }
}
