//! 5.1 The router: a linear layer that selects the top K experts of each token and their gate
//! weights.
//!
//! ```text
//! p = softmax(W x) over all E experts          the K experts with the largest p are selected
//! Mixtral   weight = p / Σ p of the selected   (Jiang et al., https://arxiv.org/abs/2401.04088)
//! Switch    weight = p                         (Fedus et al., https://arxiv.org/abs/2101.03961)
//! scaled    weight = p E / K                   (sum 1 for a uniform router)
//! ```
//!
//! The selection is not differentiable. The router learns through the gate weights and through p in
//! the auxiliary losses.

use candle_core::{DType, Device, Module, Result, Tensor, bail};
pub use modern::experts::top_k;
use tensor_core::ops::softmax;
use tensor_core::{Bias, Init, Linear, Rng, Scope, WeightDecay, at_least_f32};

use crate::config::{ExpertSelection, GateWeights, RouterConfig};

/// Parameter name of the selection bias, as in DeepSeek-V3.
pub const SELECTION_BIAS: &str = "e_score_correction_bias";

/// Router with Mixtral's parameter names.
#[derive(Debug, Clone)]
pub struct Router {
    config: RouterConfig,
    linear: Linear,                 // C -> E
    selection_bias: Option<Tensor>, // (E), updated by the load, without a gradient
}

impl Router {
    /// Creates the parameter `weight`, and [`SELECTION_BIAS`] for biased selection.
    ///
    /// # Errors
    /// Those of [`RouterConfig::check`].
    pub fn new(mut scope: Scope<'_>, c: usize, config: RouterConfig, init: Init) -> Result<Self> {
        config.check()?;
        let e = config.n_expert;
        let selection_bias = match config.expert_selection {
            ExpertSelection::Probability => None,
            ExpertSelection::Biased => {
                Some(scope.parameter(SELECTION_BIAS, e, Init::Zeros, WeightDecay::No)?.detach())
            }
        };
        Ok(Self { config, linear: Linear::new(scope, c, e, Bias::No, init)?, selection_bias })
    }

    /// Router logits W x (N, E) of `x: (N, C)`.
    pub fn logits(&self, x: &Tensor) -> Result<Tensor> {
        self.linear.forward(x)
    }

    /// Routing of N tokens with `logits: (N, E)`.
    pub fn route(&self, logits: &Tensor) -> Result<Routing> {
        Routing::new(logits, &self.config, self.selection_bias.as_ref())
    }
}

/// Routing of N tokens: selected experts and gate weights.
#[derive(Debug, Clone)]
pub struct Routing {
    /// Router logits (N, E), in 32 bits at least.
    pub logits: Tensor,
    /// Router probabilities (N, E), over all experts.
    pub probabilities: Tensor,
    /// Selected experts (N, K), row by row, the best one first.
    pub selected_experts: Vec<u32>,
    /// Gate weights (N, K) of the selected experts' outputs.
    pub gate_weights: Tensor,
}

impl Routing {
    /// Routing with `logits: (N, E)` and an optional selection bias (E), computed in 32 bits at
    /// least.
    pub fn new(logits: &Tensor, config: &RouterConfig, bias: Option<&Tensor>) -> Result<Self> {
        let (n, e) = logits.dims2()?;
        let k = config.top_k;
        let logits = at_least_f32(logits)?;
        let probabilities = softmax(&logits)?; // (N, E)
        let mut criterion = probabilities.detach();
        if let Some(bias) = bias {
            criterion = criterion.broadcast_add(&bias.to_dtype(criterion.dtype())?)?;
        }
        let criterion = criterion.to_dtype(DType::F32)?.flatten_all()?;
        let selected_experts = top_k(&criterion.to_vec1()?, e, k); // waits for the device
        let indices = Tensor::from_slice(&selected_experts, (n, k), logits.device())?;
        let gate_weights = match config.gate_weights {
            GateWeights::Raw => probabilities.gather(&indices, 1)?, // (N, K)
            GateWeights::Scaled => (probabilities.gather(&indices, 1)? * (e as f64 / k as f64))?,
            // p / Σ p, without dividing 0 by 0 if a bias selects experts whose p underflow.
            GateWeights::Renormalized => softmax(&logits.gather(&indices, 1)?)?,
        };
        Ok(Self { logits, probabilities, selected_experts, gate_weights })
    }

    /// Appends logits, probabilities and selected experts to `aux_outputs`. The experts stay on the
    /// CPU, where they were selected and where their load is counted.
    pub fn push_to(self, aux_outputs: &mut Vec<Tensor>) -> Result<()> {
        let shape = self.gate_weights.dims2()?;
        let experts = Tensor::from_slice(&self.selected_experts, shape, &Device::Cpu)?;
        aux_outputs.extend([self.logits, self.probabilities, experts]);
        Ok(())
    }
}

/// Router output of a layer, for the auxiliary losses and load statistics. Differentiable.
#[derive(Debug, Clone)]
pub struct RouterOutput {
    /// Router logits (N, E).
    pub logits: Tensor,
    /// Router probabilities (N, E).
    pub probabilities: Tensor,
    /// Selected experts (N, K), row by row.
    pub selected_experts: Vec<u32>,
}

impl RouterOutput {
    /// Router outputs of all layers in the auxiliary outputs of a model.
    ///
    /// # Errors
    /// When the number of auxiliary outputs is not 3 per layer.
    pub fn from_aux_outputs(aux_outputs: &[Tensor]) -> Result<Vec<Self>> {
        let layers = aux_outputs.chunks(3).map(|layer| {
            let [logits, probabilities, experts] = layer else {
                bail!("expected 3 auxiliary outputs per MoE layer, got {}", aux_outputs.len())
            };
            let (logits, probabilities) = (logits.clone(), probabilities.clone());
            Ok(Self { logits, probabilities, selected_experts: experts.flatten_all()?.to_vec1()? })
        });
        layers.collect()
    }
}

/// Multiplicative jitter on the router input `x`, with uniform noise from 1 − `epsilon` to
/// 1 + `epsilon`, which makes routing robust to small changes (Switch Transformer, 2.2).
///
/// The noise depends on `seed` and x alone: it is the same when gradient checkpointing recomputes a
/// block, and differs between steps.
pub fn jitter(x: &Tensor, epsilon: f64, seed: u64) -> Result<Tensor> {
    let values: Vec<f32> = x.detach().to_dtype(DType::F32)?.flatten_all()?.to_vec1()?;
    // FNV-1a over the bits.
    let hash = |hash: u64, x: &f32| (hash ^ u64::from(x.to_bits())).wrapping_mul(0x100_0000_01b3);
    let mut rng = Rng::new(values.iter().fold(seed ^ 0xcbf2_9ce4_8422_2325, hash));
    let noise =
        rng.uniform_tensor(x.shape(), (1. - epsilon, 1. + epsilon), x.dtype(), x.device())?;
    x * noise
}
