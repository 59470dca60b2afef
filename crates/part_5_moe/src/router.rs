//! 5.1 The router: a linear layer that asks of each token, which experts?
//!
//! ```text
//! p = softmax(W x) over all E experts        the K with the largest p are asked
//! Mixtral   weight = p / Σ p of the chosen   (Jiang et al., https://arxiv.org/abs/2401.04088)
//! Switch    weight = p                       (Fedus et al., https://arxiv.org/abs/2101.03961)
//! scaled    weight = p E / K                 (together 1 where the router has no opinion)
//! ```
//!
//! The choice has no derivative; the router learns through the weights and through p in the auxiliary losses.

use candle_core::{DType, Result, Tensor, bail};
use tensor_core::ops::softmax;
use tensor_core::{Bias, Init, Linear, Rng, Scope, WeightDecay};

use crate::config::{ExpertSelection, GateWeights, RouterConfig};
use crate::top_k::top_k;

/// The name of DeepSeek-V3's bias among the parameters of a router.
pub const SELECTION_BIAS: &str = "e_score_correction_bias";

/// A router, parameters named as Mixtral's.
#[derive(Debug, Clone)]
pub struct Router {
    config: RouterConfig,
    linear: Linear,                 // C -> E
    selection_bias: Option<Tensor>, // (E), moved by hand
}

impl Router {
    /// Parameter `weight`, and [`SELECTION_BIAS`] where experts are chosen by one.
    ///
    /// # Errors
    /// As [`RouterConfig::check`].
    pub fn new(mut scope: Scope<'_>, c: usize, config: RouterConfig, init: Init) -> Result<Self> {
        config.check()?;
        let e = config.n_expert;
        let bias = match config.expert_selection {
            ExpertSelection::Probability => None,
            ExpertSelection::Biased => {
                Some(scope.parameter(SELECTION_BIAS, e, Init::Zeros, WeightDecay::No)?.detach())
            }
        };
        Ok(Self { config, linear: Linear::new(scope, c, e, Bias::No, init)?, selection_bias: bias })
    }

    /// W x of `x: (N, C)`: (N, E).
    pub fn logits(&self, x: &Tensor) -> Result<Tensor> {
        self.linear.forward(x)
    }

    /// What follows from `logits: (N, E)`.
    pub fn route(&self, logits: &Tensor) -> Result<Routing> {
        Routing::new(logits, &self.config, self.selection_bias.as_ref())
    }
}

/// Where N tokens go.
#[derive(Debug, Clone)]
pub struct Routing {
    /// (N, E), what the probabilities were made of.
    pub logits: Tensor,
    /// (N, E), over all experts.
    pub probabilities: Tensor,
    /// (N, K), row by row, the best expert first.
    pub selected_experts: Vec<u32>,
    /// (N, K), what the answers count.
    pub gate_weights: Tensor,
}

impl Routing {
    /// Routes by `logits: (N, E)`, in 32 bits at least.
    pub fn new(logits: &Tensor, config: &RouterConfig, bias: Option<&Tensor>) -> Result<Self> {
        let (n, e) = logits.dims2()?;
        let k = config.top_k;
        let logits = match logits.dtype() {
            DType::F32 | DType::F64 => logits.clone(),
            _ => logits.to_dtype(DType::F32)?,
        };
        let probabilities = softmax(&logits)?; // (N, E)
        let mut scores = probabilities.detach();
        if let Some(bias) = bias {
            scores = scores.broadcast_add(&bias.to_dtype(scores.dtype())?)?;
        }
        let scores: Vec<f32> = scores.to_dtype(DType::F32)?.flatten_all()?.to_vec1()?; // waits for the device
        let experts = top_k(&scores, e, k);
        let chosen = Tensor::from_slice(&experts, (n, k), logits.device())?;
        let weights = match config.gate_weights {
            GateWeights::Raw => probabilities.gather(&chosen, 1)?, // (N, K)
            GateWeights::Scaled => (probabilities.gather(&chosen, 1)? * (e as f64 / k as f64))?,
            // p / Σ p, also where a bias chose experts whose p are too small for a float.
            GateWeights::Renormalized => softmax(&logits.gather(&chosen, 1)?)?,
        };
        Ok(Self { logits, probabilities, selected_experts: experts, gate_weights: weights })
    }

    /// Leaves a note.
    pub fn push_to(self, notes: &mut Vec<Tensor>) -> Result<()> {
        let experts = Tensor::from_slice(
            &self.selected_experts,
            self.gate_weights.dims2()?,
            self.logits.device(),
        )?;
        notes.extend([self.logits, self.probabilities, experts]);
        Ok(())
    }
}

/// What a layer noted of its routing, for losses and statistics, with its gradient.
#[derive(Debug, Clone)]
pub struct RouterOutput {
    /// (N, E)
    pub logits: Tensor,
    /// (N, E)
    pub probabilities: Tensor,
    /// (N, K), row by row.
    pub selected_experts: Vec<u32>,
}

impl RouterOutput {
    /// The notes of all layers of a model.
    ///
    /// # Errors
    /// When they are no such notes.
    pub fn from_aux_outputs(notes: &[Tensor]) -> Result<Vec<Self>> {
        let layers = notes.chunks(3).map(|note| {
            let [logits, probabilities, experts] = note else {
                bail!("{} notes: a router leaves three", notes.len())
            };
            let (logits, probabilities) = (logits.clone(), probabilities.clone());
            Ok(Self { logits, probabilities, selected_experts: experts.flatten_all()?.to_vec1()? })
        });
        layers.collect()
    }
}

/// `x` times random numbers from 1 − `spread` to 1 + `spread`: the router learns not to hang by a hair (Switch, 2.2).
///
/// The numbers follow from `seed` and x alone, so a block that is run again for its gradient meets the same ones, and no two
/// steps do.
pub fn jitter(x: &Tensor, spread: f64, seed: u64) -> Result<Tensor> {
    let values: Vec<f32> = x.detach().to_dtype(DType::F32)?.flatten_all()?.to_vec1()?;
    // FNV-1a over the bits.
    let hash = |hash: u64, x: &f32| (hash ^ u64::from(x.to_bits())).wrapping_mul(0x100_0000_01b3);
    let mut rng = Rng::new(values.iter().fold(seed ^ 0xcbf2_9ce4_8422_2325, hash));
    let noise = rng.uniform_tensor(x.shape(), (1. - spread, 1. + spread), x.dtype(), x.device())?;
    x * noise
}
