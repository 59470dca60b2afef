//! How many parameters there are, and how many work on a token.

use modern::config::Mlp;

use crate::config::{DenseBranch, ExpertSelection, MoeConfig};

impl MoeConfig {
    /// Numbers that are learned, known before there are any. A float, as sizes may be absurd.
    pub fn parameter_count(&self) -> f64 {
        self.count_with_experts(self.router.n_expert)
    }

    /// Those that work on a token: of each layer's experts, K.
    pub fn active_parameter_count(&self) -> f64 {
        self.count_with_experts(self.router.top_k)
    }

    /// With so many experts in each layer.
    fn count_with_experts(&self, experts: usize) -> f64 {
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
        // The model's own count has one layer of an expert's size in each block.
        let layers = (experts as f64 + dense - 1.) * expert + c * e + bias;
        self.model.parameter_count() + n_layer * layers
    }
}
