//! LoRA: fine-tuning by small corrections (Hu et al., <https://arxiv.org/abs/2106.09685>).
//!
//! ```text
//! y = x Wᵀ + (α / R) · (x Aᵀ) Bᵀ      A: (R, in) random,  B: (out, R) zero,  W frozen
//! ```
//!
//! With B zero, tuning starts exactly at the base model; were A zero too, no gradient would reach either. The optimizer holds
//! moments of A and B alone. Which layers are corrected is said by the ends of their names; all of them come
//! close to full fine-tuning (Schulman et al., "LoRA Without Regret", who take ten times its learning rate, which the small models
//! of this course do not bear). The base stays whole: built
//! from [`Parameters::without_adapters`], the model is the reference of parts 8 to 10 without a second copy.

use std::collections::BTreeMap;

use anyhow::{Context, Result, bail, ensure};
use candle_core::{DType, Tensor};
use tensor_core::{LoraScaling, Parameter, Parameters, Rng};

/// What adapters are made of.
#[derive(Debug, Clone, PartialEq)]
pub struct LoraConfig {
    /// R
    pub rank: usize,
    /// α: the correction is scaled by α / R, so that another rank needs no other learning rate.
    pub alpha: f64,
    /// Probability of dropout before A.
    pub dropout: f64,
    /// Which layers.
    pub target_modules: TargetModules,
}

/// Which linear layers get an adapter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TargetModules {
    /// All but the output layer.
    All,
    /// Those called one of these, or whose name ends with a point and one of these: `q_proj`, `mlp.up_proj`.
    Named(Vec<String>),
}

impl LoraConfig {
    /// α / R
    pub fn scale(&self) -> f64 {
        self.alpha / self.rank as f64
    }

    /// The layers of `parameters` that get an adapter, with (out, in).
    ///
    /// # Errors
    /// When a name is no layer's, or the rank is more than any of them has.
    pub fn resolve_layers(&self, parameters: &Parameters) -> Result<Vec<(String, (usize, usize))>> {
        let layers = self.target_modules.resolve(parameters)?;
        let most = layers.iter().map(|(_, (n_out, n_in))| *n_out.min(n_in)).max().unwrap_or(0);
        ensure!(
            self.rank <= most,
            "adapters of rank {} say no more than those of rank {most}, the most that these layers have",
            self.rank
        );
        Ok(layers)
    }
}

impl TargetModules {
    /// Whether `layer` is one of them.
    pub fn matches(&self, layer: &str) -> bool {
        let ends_with = |name: &str| {
            layer.strip_suffix(name).is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
        };
        match self {
            Self::All => !ends_with("lm_head"),
            Self::Named(names) => names.iter().any(|name| ends_with(name)),
        }
    }

    /// Those of `parameters`, with (out, in).
    ///
    /// # Errors
    /// When a name is no layer's.
    pub fn resolve(&self, parameters: &Parameters) -> Result<Vec<(String, (usize, usize))>> {
        let all = parameters.linear_layers();
        if let Self::Named(names) = self {
            for name in names {
                let one = Self::Named(vec![name.clone()]);
                if !all.iter().any(|(layer, _)| one.matches(layer)) {
                    bail!(
                        "no linear layer is called `{name}`; there are: {}",
                        module_names(parameters).join(", ")
                    );
                }
            }
        }
        let chosen: Vec<_> = all.iter().filter(|(layer, _)| self.matches(layer)).cloned().collect();
        ensure!(!chosen.is_empty(), "the model has no linear layer to adapt");
        Ok(chosen)
    }
}

/// The last words of the linear layers' names, each once.
pub fn module_names(parameters: &Parameters) -> Vec<String> {
    let mut kinds: Vec<String> = Vec::new();
    for (layer, _) in parameters.linear_layers() {
        let kind = layer.rsplit('.').next().unwrap_or(layer);
        if !kinds.iter().any(|known| known == kind) {
            kinds.push(kind.to_string());
        }
    }
    kinds
}

/// Freezes all that there is and puts fresh adapters beside the layers that `config` chooses, A drawn from `seed`. A model of
/// `parameters` is to be built again, which costs nothing.
///
/// # Errors
/// As [`LoraConfig::resolve_layers`], or when some have adapters already.
pub fn attach(parameters: &mut Parameters, config: &LoraConfig, seed: u64) -> Result<()> {
    let layers = config.resolve_layers(parameters)?;
    parameters.freeze(|_| true);
    let mut rng = Rng::new(seed);
    let (dtype, device) = (parameters.dtype(), parameters.device().clone());
    for (layer, (n_out, n_in)) in layers {
        let bound = 1. / (n_in as f64).sqrt(); // as peft and PyTorch's linear layers have it
        let down = rng.uniform_tensor((config.rank, n_in), (-bound, bound), dtype, &device)?;
        let up = Tensor::zeros((n_out, config.rank), dtype, &device)?;
        let adapting = LoraScaling { scale: config.scale(), dropout: config.dropout };
        parameters.add_adapter(&layer, [&down, &up], adapting)?;
    }
    Ok(())
}

/// W ← W + s · B A in every adapted layer: the model [without adapters](Parameters::without_adapters) then computes what it
/// computed with them, at no extra cost. The sum is taken in f32 or wider whatever the weights' type.
///
/// # Errors
/// When a layer's weight is quantized.
pub fn merge(parameters: &Parameters) -> Result<()> {
    add_adapters(parameters, 1.)
}

/// W ← W − s · B A: the way back, up to rounding.
///
/// # Errors
/// As [`merge`].
pub fn unmerge(parameters: &Parameters) -> Result<()> {
    add_adapters(parameters, -1.)
}

/// All weights under their names, as [`merge`] would make them; `parameters` stay as they are, bit for bit.
///
/// # Errors
/// As [`merge`].
pub fn merged_weights(parameters: &Parameters) -> Result<BTreeMap<String, Tensor>> {
    let base = parameters.without_adapters();
    let mut tensors: BTreeMap<String, Tensor> =
        base.iter().map(|p| (p.name.clone(), p.var.as_detached_tensor())).collect();
    for (layer, adapting) in parameters.adapters() {
        let (weight, corrected) = weight_with_adapter(parameters, layer, adapting.scale)?;
        tensors.insert(weight.name.clone(), corrected);
    }
    Ok(tensors)
}

fn add_adapters(parameters: &Parameters, sign: f64) -> Result<()> {
    for (layer, adapting) in parameters.adapters() {
        let (weight, corrected) = weight_with_adapter(parameters, layer, sign * adapting.scale)?;
        weight.var.set(&corrected)?;
    }
    Ok(())
}

/// The weight of an adapted layer, and W + scale · B A.
fn weight_with_adapter<'a>(
    parameters: &'a Parameters,
    layer: &str,
    scale: f64,
) -> Result<(&'a Parameter, Tensor)> {
    let weight = parameters.get(&format!("{layer}.weight"));
    let weight = weight.with_context(|| {
        format!("the weight of {layer} is in blocks, which take no correction: open the model dequantized")
    })?;
    let [down, up] = parameters.adapter_parameters(layer).context("an adapter has two matrices")?;
    let wide = |tensor: &Tensor| {
        let narrow = matches!(tensor.dtype(), DType::F16 | DType::BF16);
        if narrow { tensor.to_dtype(DType::F32) } else { Ok(tensor.clone()) }
    };
    let [w, a, b] = [weight, down, up].map(|p| wide(&p.var.as_detached_tensor()));
    let change = (b?.matmul(&a?)? * scale)?; // (out, R) x (R, in) -> (out, in)
    Ok((weight, (w? + change)?.to_dtype(weight.var.dtype())?))
}
