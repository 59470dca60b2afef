//! Adapters of a mixture of experts as peft saves them with transformers 5, which holds the
//! matrices of all E experts in two parameters, and so their adapters in two pairs.
//!
//! ```text
//! experts.base_layer.lora_A  (E R, C)    rows of expert e from e R on      gate and up projection
//! experts.base_layer.lora_B  (2 F, R E)  column r E + e is r of expert e   gate first
//! experts.lora_A             (E R, F)    the same for the down projection, or for the only
//! experts.lora_B             (C, R E)    parameter that is adapted
//! ```
//!
//! With transformers 4, peft had an adapter for each matrix of each expert, as a model has here. We
//! write those, and peft fuses them when it opens them.

use std::collections::BTreeMap;

use anyhow::{Result, bail, ensure};
use candle_core::Tensor;
use tensor_core::Parameters;

use super::config::PeftConfig;
use super::layer_adapter::{LayerAdapter, PREFIX, incomplete};

/// Names of a mixture and its parameters in transformers 5, and of Mixtral's in memory.
const MIXTURE: &str = "mlp";
const MIXTURE_OF_MIXTRAL: &str = "block_sparse_moe";

/// Mixture of experts of one block, by the names of its layers.
struct Mixture<'a> {
    name: &'a str,
    /// Gate, up and down projection of each expert.
    experts: Vec<[&'a str; 3]>,
    /// F, the inner width, and C, the channels.
    dims: (usize, usize),
}

/// Takes the adapters of fused experts out of `tensors` and gives each layer of `parameters` its
/// own. Those that do not fit are described in `errors`.
pub(super) fn split(
    tensors: &mut BTreeMap<String, Tensor>,
    parameters: &Parameters,
    config: &PeftConfig,
    errors: &mut Vec<String>,
) -> Vec<LayerAdapter> {
    let mut adapters = Vec::new();
    for mixture in mixtures(parameters) {
        let in_file = mixture.name.replace(MIXTURE_OF_MIXTRAL, MIXTURE);
        for inner in ["experts.base_layer", "experts"] {
            let mut take =
                |matrix| tensors.remove(&format!("{PREFIX}{in_file}.{inner}.{matrix}.weight"));
            match (take("lora_A"), take("lora_B")) {
                (None, None) => {}
                (Some(lora_a), Some(lora_b)) => {
                    match mixture.split(&in_file, &lora_a, &lora_b, config) {
                        Ok(of_experts) => adapters.extend(of_experts),
                        Err(error) => errors.push(format!("{in_file}.{inner}: {error:#}")),
                    }
                }
                _ => errors.push(incomplete(&format!("{in_file}.{inner}"))),
            }
        }
        for matrix in ["lora_A", "lora_B"] {
            let router = |mixture: &str| format!("{PREFIX}{mixture}.gate.{matrix}.weight");
            if let Some(tensor) = tensors.remove(&router(&in_file)) {
                tensors.insert(router(mixture.name), tensor);
            }
        }
    }
    adapters
}

/// Mixtures of experts among the linear layers of `parameters`.
fn mixtures(parameters: &Parameters) -> Vec<Mixture<'_>> {
    let mut mixtures = BTreeMap::<&str, Vec<_>>::new();
    for (layer, dims) in parameters.linear_layers() {
        if let Some((mixture, _)) = layer.split_once(".experts.") {
            mixtures.entry(mixture).or_default().push((layer.as_str(), *dims));
        }
    }
    let mixtures = mixtures.into_iter().map(|(name, layers)| Mixture {
        name,
        // A model creates them in this order.
        experts: layers.chunks_exact(3).map(|expert| [0, 1, 2].map(|i| expert[i].0)).collect(),
        dims: layers[0].1,
    });
    mixtures.collect()
}

impl Mixture<'_> {
    /// Adapters of the layers of all experts from those of a fused parameter of the mixture that
    /// files call `in_file`.
    fn split(
        &self,
        in_file: &str,
        lora_a: &Tensor,
        lora_b: &Tensor,
        config: &PeftConfig,
    ) -> Result<Vec<LayerAdapter>> {
        let ((f, c), n_expert) = (self.dims, self.experts.len());
        let ((rows, n_in), (n_out, _)) = (lora_a.dims2()?, lora_b.dims2()?);
        let (parameter, parts) = match (n_in, n_out) {
            dims if dims == (c, 2 * f) => ("gate_up_proj", &[0, 1][..]),
            dims if dims == (f, c) => ("down_proj", &[2][..]),
            _ => bail!("lora_A and lora_B are for a matrix of shape {n_out} x {n_in}"),
        };
        let parameter = format!("{in_file}.experts.{parameter}");
        let (rank, scale) = (config.rank_of(&parameter), config.scale_of(&parameter));
        ensure!(
            n_expert.checked_mul(rank) == Some(rows) && lora_b.dim(1)? == rows,
            "lora_A has {rows} rows, expected {rank} for each of {n_expert} experts"
        );
        let lora_a = lora_a.reshape((n_expert, rank, n_in))?;
        let lora_b = lora_b.reshape((n_out, rank, n_expert))?.permute((2, 0, 1))?; // (E, out, R)
        let mut adapters = Vec::new();
        for (e, layers) in self.experts.iter().enumerate() {
            let (lora_a, lora_b) = (lora_a.get(e)?, lora_b.get(e)?.contiguous()?);
            for (i, &part) in parts.iter().enumerate() {
                let width = n_out / parts.len();
                adapters.push(LayerAdapter {
                    layer: layers[part].to_string(),
                    scale,
                    lora_a: lora_a.clone(),
                    lora_b: lora_b.narrow(0, i * width, width)?,
                    magnitude: None,
                });
            }
        }
        Ok(adapters)
    }
}
