//! Configuration of a mixture-of-experts model and of its training.

use candle_core::{Result, bail};
use model_io::ModelConfig;
use model_io::config::Mlp;
use serde::Serialize;

/// Architecture of a [`GptMoe`](crate::GptMoe).
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct MoeConfig {
    /// Model configuration without the experts; its feed-forward layer is that of *one* expert.
    pub model: ModelConfig,
    /// Router configuration.
    pub router: RouterConfig,
    /// Dense branch beside the experts.
    pub dense_branch: DenseBranch,
}

/// Router configuration: number of experts, selection and gate weights.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RouterConfig {
    /// Number of experts E.
    pub n_expert: usize,
    /// Experts per token K.
    pub top_k: usize,
    /// Weight of each selected expert's output.
    pub gate_weights: GateWeights,
    /// Criterion by which the K experts are selected.
    pub expert_selection: ExpertSelection,
}

/// Weights of the selected experts' outputs, where p is the softmax over *all* experts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum GateWeights {
    /// p divided by its sum over the selected experts, so that the weights of a token sum to 1:
    /// Mixtral. With K = 1 the weight is always 1, and the cross-entropy has a zero gradient for
    /// the router.
    Renormalized,
    /// p unchanged: Switch Transformer. The weights sum to less than 1.
    Raw,
    /// p · E / K. With a uniform router the raw weights sum to K / E, so the layer's output would
    /// be K / E as large as a dense layer's; the factor E / K restores the scale. Similar to
    /// DeepSeek-V2's fixed scaling factor, <https://arxiv.org/abs/2405.04434>.
    Scaled,
}

/// Criterion by which experts are selected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ExpertSelection {
    /// Largest p.
    Probability,
    /// Largest p + b: DeepSeek-V3. The bias b is moved against the load and does not enter the gate
    /// weights.
    Biased,
}

/// Dense feed-forward branch beside the experts (5.3).
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum DenseBranch {
    /// Experts only.
    None,
    /// α · dense + (1 − α) · experts.
    Weighted {
        /// Weight α of the dense branch, from 0 to 1.
        dense_weight: f64,
    },
}

/// Router settings that apply in training only: jitter and expert capacity.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize)]
pub struct RouterTrainingConfig {
    /// Jitter ε: the router's input is multiplied by uniform noise from 1 − ε to 1 + ε; 0 disables
    /// it.
    pub jitter: f64,
    /// Capacity factor: an expert takes at most this many times N K / E tokens and drops the
    /// others; `None` is unlimited.
    pub capacity_factor: Option<f64>,
}

/// Load-balancing settings.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct LoadBalancing {
    /// Coefficient of the load-balancing loss.
    pub aux_loss_coef: f64,
    /// Coefficient of the router z-loss.
    pub z_loss_coef: f64,
    /// Change of the bias of [`ExpertSelection::Biased`] per step.
    pub bias_update_rate: f64,
}

impl RouterConfig {
    /// Router with `top_k` of `n_expert` experts per token: Mixtral's gate weights if `top_k` is
    /// more than 1, scaled probabilities if it is 1.
    pub fn new(n_expert: usize, top_k: usize) -> Self {
        let gate_weights = if top_k == 1 { GateWeights::Scaled } else { GateWeights::Renormalized };
        Self { n_expert, top_k, gate_weights, expert_selection: ExpertSelection::Probability }
    }

    /// Checks the sizes.
    ///
    /// # Errors
    /// When E is 0, or K is not from 1 to E.
    pub fn check(&self) -> Result<()> {
        let Self { n_expert, top_k, .. } = *self;
        if n_expert == 0 {
            bail!("the number of experts must be at least 1");
        }
        if top_k == 0 || top_k > n_expert {
            bail!("{top_k} experts per token of {n_expert}: must be from 1 to {n_expert}");
        }
        Ok(())
    }
}

impl MoeConfig {
    /// MoE model with the FLOPs per token of `dense`, apart from the router and rounding: experts
    /// replace the feed-forward layer, each 1/K as wide, rounded up.
    ///
    /// # Errors
    /// Those of [`MoeConfig::check`].
    pub fn with_flops_of(dense: &ModelConfig, router: RouterConfig) -> Result<Self> {
        Self::with_dense_branch(dense, router, DenseBranch::None)
    }

    /// Like [`MoeConfig::with_flops_of`], with this dense branch. It is as wide as an expert, so
    /// that it and the K experts have the FLOPs of `dense` together.
    ///
    /// # Errors
    /// Those of [`MoeConfig::check`].
    pub fn with_dense_branch(
        dense: &ModelConfig,
        router: RouterConfig,
        dense_branch: DenseBranch,
    ) -> Result<Self> {
        router.check()?;
        let n_layers = router.top_k + usize::from(dense_branch != DenseBranch::None);
        let expert_width = |width: usize| width.div_ceil(n_layers);
        let mlp = match dense.mlp {
            Mlp::SwiGlu { width } => Mlp::SwiGlu { width: expert_width(width) },
            Mlp::Gelu { width, form } => Mlp::Gelu { width: expert_width(width), form },
            other => other, // refused below
        };
        let config = Self { model: ModelConfig { mlp, ..*dense }, router, dense_branch };
        config.check()?;
        Ok(config)
    }

    /// Checks the sizes.
    ///
    /// # Errors
    /// When the model's or the router's sizes are invalid, or α is not from 0 to 1.
    pub fn check(&self) -> Result<()> {
        self.model.validate()?;
        self.router.check()?;
        if !matches!(self.model.mlp, Mlp::SwiGlu { .. } | Mlp::Gelu { .. }) {
            bail!("an expert is a SwiGLU or a GELU layer, not {:?}", self.model.mlp);
        }
        match self.dense_branch {
            DenseBranch::Weighted { dense_weight } if !(0. ..=1.).contains(&dense_weight) => {
                bail!("dense branch weight {dense_weight}: must be from 0 to 1")
            }
            _ => Ok(()),
        }
    }

    /// Number of parameters, computed from the configuration. A float, so that absurdly large sizes
    /// do not overflow.
    pub fn parameter_count(&self) -> f64 {
        self.count_with_experts(self.router.n_expert)
    }

    /// Number of active parameters per token: those of K experts per layer, and of a dense branch.
    pub fn active_parameter_count(&self) -> f64 {
        self.count_with_experts(self.router.top_k)
    }

    /// Number of parameters with `n_expert` experts in each layer.
    fn count_with_experts(&self, n_expert: usize) -> f64 {
        let [c, n_layer, e] =
            [self.model.n_embd, self.model.n_layer, self.router.n_expert].map(|n| n as f64);
        let width = self.model.mlp.width() as f64;
        let expert = match self.model.mlp {
            Mlp::Gelu { .. } => (2. * c + 1.) * width + c,
            _ => 3. * c * width, // SwiGLU
        };
        let dense = match self.dense_branch {
            DenseBranch::None => 0.,
            DenseBranch::Weighted { .. } => 1.,
        };
        let bias = if self.router.expert_selection == ExpertSelection::Biased { e } else { 0. };
        // The dense model's count includes one feed-forward layer of an expert's size per block.
        let layer = (n_expert as f64 + dense - 1.) * expert + c * e + bias;
        self.model.parameter_count() + n_layer * layer
    }
}
