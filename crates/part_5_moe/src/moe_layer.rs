//! 5.2 The layer: y = Σₖ weightₖ · expertₖ(x), for each token over the K experts that the router chose.

use candle_core::{DType, Result, Tensor};
use modern::FeedForwardLayer;
use modern::config::Mlp;
use tensor_core::ops::{embedding, scatter_combine};
use tensor_core::{Init, Scope, reshape};

use crate::config::{RouterConfig, RouterTrainingConfig};
use crate::dispatch::{Dispatch, expert_capacity};
use crate::experts::Experts;
use crate::router::{Router, Routing, jitter};

/// A mixture of experts in a block's seat for a feed-forward layer. It notes the router's logits and probabilities, (N, E), and
/// the chosen experts, (N, K): see [`RouterOutput`](crate::router::RouterOutput).
#[derive(Debug, Clone)]
pub struct MoeLayer {
    router: Router,
    experts: Experts,
    config: RouterConfig,
    router_training: RouterTrainingConfig,
}

impl MoeLayer {
    /// Parameters `gate` and `experts`. `residual` is the initial scale of each expert's last matrix.
    ///
    /// # Errors
    /// As [`RouterConfig::check`].
    pub fn new(
        mut scope: Scope<'_>,
        c: usize,
        (config, mlp): (RouterConfig, Mlp),
        strain: RouterTrainingConfig,
        inits: [Init; 2],
    ) -> Result<Self> {
        let router = Router::new(scope.at("gate"), c, config, inits[0])?;
        let experts = Experts::new(scope.at("experts"), (config.n_expert, c), mlp, inits)?;
        Ok(Self { router, experts, config, router_training: strain })
    }

    /// Where the tokens `x: (N, C)` go.
    pub fn route(&self, x: &Tensor) -> Result<Routing> {
        let RouterTrainingConfig { jitter: spread, .. } = self.router_training;
        let seen = if spread > 0. { jitter(x, spread, 0)? } else { x.clone() };
        self.router.route(&self.router.logits(&seen)?)
    }

    /// Who takes which of N tokens that go where `routing` says.
    pub fn dispatch(&self, routing: &Routing) -> Result<Dispatch> {
        let (n, k) = routing.gate_weights.dims2()?;
        let e = self.config.n_expert;
        let most =
            self.router_training.capacity_factor.map(|factor| expert_capacity(factor, n, k, e));
        Ok(Dispatch::new(&routing.selected_experts, k, e, most))
    }

    /// The lesson: asks one expert after the other for its tokens among `x: (N, C)`, and adds up what they say: (N, C).
    pub fn forward_reference(&self, x: &Tensor, routing: &Routing) -> Result<Tensor> {
        let (n, k) = routing.gate_weights.dims2()?;
        let plan = self.dispatch(routing)?;
        let weights = routing.gate_weights.to_dtype(x.dtype())?.reshape((n * k, 1))?;
        let mut y = x.zeros_like()?;
        for e in 0..self.config.n_expert {
            let asked = |slot: &usize| {
                routing.selected_experts[*slot] as usize == e && plan.row_of_choice[*slot].is_some()
            };
            let slots: Vec<u32> = (0..n * k).filter(asked).map(|slot| slot as u32).collect();
            if slots.is_empty() {
                continue;
            }
            let tokens: Vec<u32> = slots.iter().map(|slot| slot / k as u32).collect();
            let tokens = Tensor::new(tokens, x.device())?;
            // (tokens of e, C)
            let said = self.experts.forward_expert(e, &x.index_select(&tokens, 0)?)?;
            let weight = weights.index_select(&Tensor::new(slots, x.device())?, 0)?;
            y = y.index_add(&tokens, &said.broadcast_mul(&weight)?, 0)?;
        }
        Ok(y)
    }

    /// The same with the tokens sorted by expert: one product per expert and matrix, whatever the experts' loads.
    pub fn forward_grouped(&self, x: &Tensor, routing: &Routing) -> Result<Tensor> {
        let plan = self.dispatch(routing)?;
        let rows = embedding(x, &Tensor::new(&plan.token_indices[..], x.device())?)?; // (M, C)
        let said = self.experts.forward_grouped(&rows, &plan.rows_per_expert)?; // (M, C)
        let weights = match x.dtype() {
            DType::F32 | DType::F64 => routing.gate_weights.clone(),
            dtype => routing.gate_weights.to_dtype(dtype)?,
        };
        scatter_combine(&said, &weights, &plan.row_of_choice) // (N, C)
    }

    /// Maps `x: (B, T, C)` to the experts' answers times `share`, (B, T, C); notes where they went.
    pub fn forward_scaled(
        &self,
        x: &Tensor,
        share: f64,
        notes: &mut Vec<Tensor>,
    ) -> Result<Tensor> {
        let (b, t, c) = x.dims3()?;
        let x = reshape(x, (b * t, c))?; // (N, C)
        let mut routing = self.route(&x)?;
        if share != 1. {
            routing.gate_weights = (routing.gate_weights * share)?;
        }
        let y = self.forward_grouped(&x, &routing)?;
        routing.push_to(notes)?;
        reshape(&y, (b, t, c))
    }
}

impl FeedForwardLayer for MoeLayer {
    fn forward(&self, x: &Tensor, notes: &mut Vec<Tensor>) -> Result<Tensor> {
        self.forward_scaled(x, 1., notes)
    }
}
