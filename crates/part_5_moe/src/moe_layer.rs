//! 5.2 The MoE layer: y = Σₖ weightₖ · expertₖ(x), for each token over the K experts that its
//! router selects.

use candle_core::{DType, Result, Tensor};
use model_io::config::Mlp;
use modern::FeedForwardLayer;
use tensor_core::ops::{embedding, scatter_combine};
use tensor_core::{Init, Scope, reshape};

use crate::config::{RouterConfig, RouterTrainingConfig};
use crate::dispatch::{Dispatch, expert_capacity};
use crate::experts::Experts;
use crate::router::{Router, Routing, jitter};

/// Mixture-of-experts layer, which replaces a block's feed-forward layer.
///
/// Its auxiliary outputs are the router's logits and probabilities (N, E) and the selected experts
/// (N, K): see [`RouterOutput`](crate::router::RouterOutput).
#[derive(Debug, Clone)]
pub struct MoeLayer {
    router: Router,
    experts: Experts,
    config: RouterConfig,
    router_training: RouterTrainingConfig,
}

impl MoeLayer {
    /// Creates the parameters `gate` and `experts`. `residual` initializes each expert's last
    /// matrix, `init` all others.
    ///
    /// # Errors
    /// Those of [`RouterConfig::check`].
    pub fn new(
        mut scope: Scope<'_>,
        c: usize,
        config: RouterConfig,
        mlp: Mlp,
        router_training: RouterTrainingConfig,
        init: Init,
        residual: Init,
    ) -> Result<Self> {
        let router = Router::new(scope.at("gate"), c, config, init)?;
        let e = config.n_expert;
        let experts = Experts::new(scope.at("experts"), e, c, mlp, init, residual)?;
        Ok(Self { router, experts, config, router_training })
    }

    /// Routing of the tokens `x: (N, C)`.
    pub fn route(&self, x: &Tensor) -> Result<Routing> {
        let epsilon = self.router_training.jitter;
        let input = if epsilon > 0. { jitter(x, epsilon, 0)? } else { x.clone() };
        self.router.route(&self.router.logits(&input)?)
    }

    /// Dispatch of N tokens to the experts of `routing`.
    pub fn dispatch(&self, routing: &Routing) -> Result<Dispatch> {
        let (n, k) = routing.gate_weights.dims2()?;
        let e = self.config.n_expert;
        let capacity =
            self.router_training.capacity_factor.map(|factor| expert_capacity(factor, n, k, e));
        Ok(Dispatch::new(&routing.selected_experts, k, e, capacity))
    }

    /// Reference forward of `x: (N, C)`: a loop over the experts that adds each expert's weighted
    /// outputs, giving (N, C).
    pub fn forward_reference(&self, x: &Tensor, routing: &Routing) -> Result<Tensor> {
        let (n, k) = routing.gate_weights.dims2()?;
        let dispatch = self.dispatch(routing)?;
        let weights = routing.gate_weights.to_dtype(x.dtype())?.reshape((n * k, 1))?;
        let mut y = x.zeros_like()?;
        for e in 0..self.config.n_expert {
            let is_for_expert = |slot: &usize| {
                routing.selected_experts[*slot] as usize == e
                    && dispatch.row_of_choice[*slot].is_some()
            };
            let slots: Vec<u32> =
                (0..n * k).filter(is_for_expert).map(|slot| slot as u32).collect();
            if slots.is_empty() {
                continue;
            }
            let tokens: Vec<u32> = slots.iter().map(|slot| slot / k as u32).collect();
            let tokens = Tensor::new(tokens, x.device())?;
            // (tokens of e, C)
            let output = self.experts.forward_expert(e, &x.index_select(&tokens, 0)?)?;
            let weight = weights.index_select(&Tensor::new(slots, x.device())?, 0)?;
            y = y.index_add(&tokens, &output.broadcast_mul(&weight)?, 0)?;
        }
        Ok(y)
    }

    /// Grouped forward of `x: (N, C)`, giving (N, C): with the tokens sorted by expert, one matrix
    /// product per expert and matrix for any load.
    pub fn forward_grouped(&self, x: &Tensor, routing: &Routing) -> Result<Tensor> {
        let dispatch = self.dispatch(routing)?;
        let rows = embedding(x, &Tensor::new(&dispatch.token_indices[..], x.device())?)?; // (M, C)
        let outputs = self.experts.forward_grouped(&rows, &dispatch.rows_per_expert)?; // (M, C)
        let weights = match x.dtype() {
            DType::F32 | DType::F64 => routing.gate_weights.clone(),
            dtype => routing.gate_weights.to_dtype(dtype)?,
        };
        scatter_combine(&outputs, &weights, &dispatch.row_of_choice) // (N, C)
    }

    /// Weighted sum (B, T, C) of the experts' outputs for `x: (B, T, C)`, times `scale`. Appends
    /// the router output to `aux_outputs`.
    pub fn forward_scaled(
        &self,
        x: &Tensor,
        scale: f64,
        aux_outputs: &mut Vec<Tensor>,
    ) -> Result<Tensor> {
        let (b, t, c) = x.dims3()?;
        let x = reshape(x, (b * t, c))?; // (N, C)
        let mut routing = self.route(&x)?;
        if scale != 1. {
            routing.gate_weights = (routing.gate_weights * scale)?;
        }
        let y = self.forward_grouped(&x, &routing)?;
        routing.push_to(aux_outputs)?;
        reshape(&y, (b, t, c))
    }
}

impl FeedForwardLayer for MoeLayer {
    fn forward_with_aux_outputs(
        &self,
        x: &Tensor,
        aux_outputs: &mut Vec<Tensor>,
    ) -> Result<Tensor> {
        self.forward_scaled(x, 1., aux_outputs)
    }
}
