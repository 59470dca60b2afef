//! Layers of a model that have LoRA adapters, and their rank: the settings of peft's `LoraConfig`.

use anyhow::{Context, Result, ensure};
use tensor_core::Parameters;

/// LoRA hyperparameters.
#[derive(Debug, Clone, PartialEq)]
pub struct LoraConfig {
    /// Rank R.
    pub rank: usize,
    /// Scaling α of the update, which is divided by a function of the rank.
    pub alpha: f64,
    /// Divisor of α.
    pub scaling: RankScaling,
    /// Kind of adapter.
    pub variant: LoraVariant,
    /// Dropout probability before A.
    pub dropout: f64,
    /// Layers that get an adapter.
    pub target_modules: TargetModules,
}

/// Scale s of the update, by its rank R.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RankScaling {
    /// α / R (Hu et al., <https://arxiv.org/abs/2106.09685>).
    Standard,
    /// α / √R, rsLoRA (Kalajdzievski, <https://arxiv.org/abs/2312.03732>): the update keeps its
    /// size at high ranks.
    RankStabilized,
}

impl RankScaling {
    /// Scale s of an update of this rank.
    pub fn scale(self, alpha: f64, rank: usize) -> f64 {
        match self {
            Self::Standard => alpha / rank as f64,
            Self::RankStabilized => alpha / (rank as f64).sqrt(),
        }
    }
}

/// Parameters that an adapter trains beside the frozen weight.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LoraVariant {
    /// The matrices A and B.
    Plain,
    /// A and B, which change the direction of the weight's rows, and the lengths of the rows, DoRA
    /// (Liu et al., <https://arxiv.org/abs/2402.09353>).
    Dora,
}

/// Selection of the linear layers that get an adapter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TargetModules {
    /// All linear layers but the output layer.
    All,
    /// Layers with one of these names, or whose name ends with a dot and one of them: `q_proj`,
    /// `mlp.up_proj`.
    Named(Vec<String>),
}

impl LoraConfig {
    /// Plain LoRA of this rank on all layers, with α = 2 R and without dropout.
    pub fn new(rank: usize) -> Self {
        Self {
            rank,
            alpha: 2. * rank as f64,
            scaling: RankScaling::Standard,
            variant: LoraVariant::Plain,
            dropout: 0.,
            target_modules: TargetModules::All,
        }
    }

    /// Scale s of the update.
    pub fn scale(&self) -> f64 {
        self.scaling.scale(self.alpha, self.rank)
    }

    /// Selected layers of `parameters`, with their shapes (out, in).
    ///
    /// # Errors
    /// When a name matches no layer, or the rank exceeds the largest that any selected layer can
    /// have.
    pub fn resolve_layers(&self, parameters: &Parameters) -> Result<Vec<(String, (usize, usize))>> {
        let all = parameters.linear_layers();
        if let TargetModules::Named(names) = &self.target_modules {
            for name in names {
                ensure!(
                    all.iter().any(|(layer, _)| ends_with_name(layer, name)),
                    "no linear layer is called `{name}`; there are: {}",
                    module_names(parameters).join(", ")
                );
            }
        }
        let layers = all.iter().filter(|(layer, _)| self.target_modules.matches(layer));
        let layers: Vec<_> = layers.cloned().collect();
        let max_rank = layers.iter().map(|(_, (n_out, n_in))| *n_out.min(n_in)).max();
        let max_rank = max_rank.context("the model has no linear layer to adapt")?;
        ensure!(
            self.rank <= max_rank,
            "LoRA rank {} is too high: these layers have at most rank {max_rank}",
            self.rank
        );
        Ok(layers)
    }
}

impl TargetModules {
    /// True if `layer` is selected.
    pub fn matches(&self, layer: &str) -> bool {
        match self {
            Self::All => !is_output_layer(layer),
            Self::Named(names) => names.iter().any(|name| ends_with_name(layer, name)),
        }
    }
}

/// True if `layer` is the LM head, under any family's name.
fn is_output_layer(layer: &str) -> bool {
    ["lm_head", "embed_out"].iter().any(|name| ends_with_name(layer, name))
}

/// True if `layer` is called `name`, or ends with a dot and `name`.
fn ends_with_name(layer: &str, name: &str) -> bool {
    layer.strip_suffix(name).is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
}

/// Distinct last parts of the linear layers' names, such as `q_proj`.
pub(crate) fn module_names(parameters: &Parameters) -> Vec<String> {
    let mut names: Vec<String> = Vec::new();
    for (layer, _) in parameters.linear_layers() {
        let name = layer.rsplit('.').next().unwrap_or(layer);
        if !names.iter().any(|known| known == name) {
            names.push(name.to_string());
        }
    }
    names
}
