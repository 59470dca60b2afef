//! Parameter counts: total, and active per token.

use model_io::config::Mlp;

use crate::config::{DenseBranch, ExpertSelection, MoeConfig};

impl MoeConfig {
    /// Number of parameters, computed from the configuration. A float, so that absurdly large sizes
    /// do not overflow.
    pub fn parameter_count(&self) -> f64 {
        self.count_with_experts(self.router.n_expert)
    }

    /// Number of active parameters per token: those of K experts per layer.
    pub fn active_parameter_count(&self) -> f64 {
        self.count_with_experts(self.router.top_k)
    }

    /// Number of parameters with `n_expert` experts in each layer.
    fn count_with_experts(&self, n_expert: usize) -> f64 {
        let [c, n_layer, e] =
            [self.model.n_embd, self.model.n_layer, self.router.n_expert].map(|n| n as f64);
        let expert = match self.model.mlp {
            Mlp::SwiGlu { width } => 3. * c * width as f64,
            Mlp::Gelu { width, .. } => (2. * c + 1.) * width as f64 + c,
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
