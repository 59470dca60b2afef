//! Named parameters of a model, in a fixed order.
//!
//! A model's constructor requests each of its tensors from a [`Scope`]. Fresh parameters are
//! sampled from the seed; parameters loaded from a file are taken from it after a check of the
//! shape. Running the same constructor on [`Parameters::for_inference`] gives an inference copy of
//! the model on the same memory: it builds no graph, applies no dropout, and sees every update of
//! the optimizer.

mod adapters;
mod parameter;
mod scope;
mod var_builder;
mod views;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt::Display;
use std::sync::{Arc, Mutex};

use candle_core::{DType, Device, Result, Shape, Tensor, Var, bail};
pub use parameter::{Init, Parameter, WeightDecay};
pub use scope::Scope;

use crate::Rng;
use crate::adapter::LoraScaling;
use crate::quantized::QuantizedMatrix;

/// Origin of a tensor that is requested for the first time.
enum Source {
    /// Sampled from the seed.
    Seed(Rng),
    /// Taken from the tensors of a file. Tensors that are left over once the model is built are an
    /// error.
    File { origin: String, tensors: BTreeMap<String, Tensor> },
    /// Parameters of another store: no new ones can be created.
    Shared,
}

/// Ordered collection of named parameters on one device.
pub struct Parameters {
    entries: Vec<Parameter>,
    index: HashMap<String, usize>,
    source: Source,
    /// Dtype of the tensors that a model computes with.
    dtype: DType,
    /// Dtype of the operands of matrix products; another one than `dtype` only for bf16 on the CPU.
    compute_dtype: DType,
    device: Device,
    /// Quantized matrices of layers. They are not parameters, since they are never trained.
    quantized: BTreeMap<String, QuantizedMatrix>,
    /// Names of quantized matrices that no layer has requested yet.
    unclaimed: BTreeSet<String>,
    /// Name and shape (out, in) of every linear layer built so far.
    linear_layers: Vec<(String, (usize, usize))>,
    /// Linear layers with an adapter.
    adapters: BTreeMap<String, LoraScaling>,
    /// Stream shared by all dropout layers; `None` for inference.
    dropout_rng: Option<Arc<Mutex<Rng>>>,
}

impl Parameters {
    /// Empty collection whose parameters are initialized from `seed` in the order of the model's
    /// requests.
    pub fn seeded(seed: u64, dtype: DType, device: &Device) -> Self {
        let mut rng = Rng::new(seed);
        let dropout_rng = rng.fork();
        Self::empty(Source::Seed(rng), dropout_rng, dtype, device)
    }

    /// Parameters from the tensors of a file; `origin` is its path, for messages, and `seed` seeds
    /// dropout. Call [`Parameters::ensure_all_used`] once the model is built.
    pub fn from_tensors(
        tensors: BTreeMap<String, Tensor>,
        origin: impl Display,
        seed: u64,
        dtype: DType,
        device: &Device,
    ) -> Self {
        let source = Source::File { origin: origin.to_string(), tensors };
        Self::empty(source, Rng::new(seed), dtype, device)
    }

    fn empty(source: Source, dropout_rng: Rng, dtype: DType, device: &Device) -> Self {
        let dropout_rng = Some(Arc::new(Mutex::new(dropout_rng)));
        let (entries, index) = (Vec::new(), HashMap::new());
        let (quantized, unclaimed) = (BTreeMap::new(), BTreeSet::new());
        let device = device.clone();
        let (linear_layers, adapters) = (Vec::new(), BTreeMap::new());
        Self {
            entries,
            index,
            source,
            dtype,
            compute_dtype: dtype,
            device,
            quantized,
            unclaimed,
            linear_layers,
            adapters,
            dropout_rng,
        }
    }

    /// These parameters, with `quantized` matrices in place of some of the weights.
    pub fn with_quantized(self, quantized: BTreeMap<String, QuantizedMatrix>) -> Self {
        let unclaimed = quantized.keys().cloned().collect();
        Self { quantized, unclaimed, ..self }
    }

    /// Checks that the model used every tensor of the file that it was loaded from.
    ///
    /// # Errors
    /// Names a tensor that the model does not use.
    pub fn ensure_all_used(&self) -> Result<()> {
        if let Some(name) = self.unclaimed.first() {
            bail!("unexpected quantized tensor `{name}` ({} in all)", self.unclaimed.len());
        }
        if let Source::File { origin, tensors } = &self.source
            && let Some(name) = tensors.keys().next()
        {
            bail!("{origin}: unexpected tensor `{name}` ({} in all)", tensors.len());
        }
        Ok(())
    }

    /// Freezes the parameters whose name satisfies `is_frozen`, among those that a model has
    /// requested. Models built earlier are not affected: build the model again, which copies
    /// nothing.
    pub fn freeze(&mut self, is_frozen: impl Fn(&str) -> bool) {
        for parameter in &mut self.entries {
            parameter.trainable &= !is_frozen(&parameter.name);
        }
    }

    /// All parameters, in the order of the model's requests.
    pub fn iter(&self) -> impl Iterator<Item = &Parameter> {
        self.entries.iter()
    }

    /// Trainable parameters, in order.
    pub fn trainable(&self) -> impl Iterator<Item = &Parameter> {
        self.iter().filter(|p| p.trainable)
    }

    /// Number of parameters (elements), quantized matrices included.
    pub fn n_parameters(&self) -> usize {
        let quantized = self.quantized.values().map(|matrix| matrix.dims().0 * matrix.dims().1);
        self.iter().map(|p| p.var.elem_count()).chain(quantized).sum()
    }

    /// True if some matrices are quantized, and therefore not among the parameters.
    pub fn is_quantized(&self) -> bool {
        !self.quantized.is_empty()
    }

    /// Quantized matrices by name, which are not among the parameters.
    pub fn quantized_matrices(&self) -> &BTreeMap<String, QuantizedMatrix> {
        &self.quantized
    }

    /// Device of the parameters.
    pub fn device(&self) -> &Device {
        &self.device
    }

    /// Dtype of the model's tensors, from embeddings to logits.
    pub fn dtype(&self) -> DType {
        self.dtype
    }

    /// Dtype in which the model multiplies matrices, see [`Parameters::with_compute_dtype`].
    pub fn compute_dtype(&self) -> DType {
        self.compute_dtype
    }

    /// Tensor of the parameter `name` for a layer that computes in `dtype`. The first request
    /// creates the parameter.
    fn get_or_create(
        &mut self,
        name: String,
        shape: Shape,
        init: Init,
        decay: WeightDecay,
        dtype: DType,
    ) -> Result<Tensor> {
        if let Some(&i) = self.index.get(&name) {
            let parameter = &self.entries[i];
            check_shape(&name, parameter.var.shape(), &shape)?;
            return parameter.tensor(dtype);
        }
        let tensor = match &mut self.source {
            Source::Seed(rng) => match init {
                Init::Zeros => Tensor::zeros(shape, dtype, &self.device)?,
                Init::Ones => Tensor::ones(shape, dtype, &self.device)?,
                Init::Constant { value } => {
                    Tensor::full(value, shape, &self.device)?.to_dtype(dtype)?
                }
                Init::Normal { std } => rng.normal_tensor(shape, std, dtype, &self.device)?,
                Init::Uniform { bound } => {
                    rng.uniform_tensor(shape, (-bound, bound), dtype, &self.device)?
                }
            },
            Source::File { origin, tensors } => {
                let Some(tensor) = tensors.remove(&name) else {
                    bail!("{origin}: tensor `{name}` is missing");
                };
                check_shape(&format!("{origin}: {name}"), tensor.shape(), &shape)?;
                if !tensor.dtype().is_float() {
                    bail!(
                        "{origin}: `{name}` has dtype {:?}, expected floating-point weights",
                        tensor.dtype()
                    );
                }
                let name = format!("{origin}: `{name}`");
                ensure_finite(&tensor, &name)?;
                let converted = tensor.to_device(&self.device)?.to_dtype(dtype)?;
                if tensor.dtype() != dtype && !is_finite(&converted)? {
                    bail!("{name} has a weight that is too large for {dtype:?}");
                }
                converted
            }
            Source::Shared => {
                bail!("parameter `{name}` not found: the model differs from the trained one")
            }
        };
        let var = Var::from_tensor(&tensor)?;
        let parameter = Parameter { name: name.clone(), var, weight_decay: decay, trainable: true };
        let tensor = parameter.tensor(dtype)?;
        self.index.insert(name, self.entries.len());
        self.entries.push(parameter);
        Ok(tensor)
    }
}

/// Checks that no element of the tensor called `name` is NaN or infinite.
fn ensure_finite(tensor: &Tensor, name: &str) -> Result<()> {
    if !is_finite(tensor)? {
        bail!(
            "{name} has a weight that is NaN or infinite: the file is damaged, or its training \
             diverged"
        );
    }
    Ok(())
}

/// True if no element is NaN or infinite: 0 · x is 0 for all others.
fn is_finite(tensor: &Tensor) -> Result<bool> {
    let sum = tensor.affine(0., 0.)?.sum_all()?.to_dtype(DType::F32)?.to_scalar::<f32>()?;
    Ok(sum == 0.)
}

fn check_shape(name: &str, actual: &Shape, expected: &Shape) -> Result<()> {
    if actual != expected {
        bail!("{name} has shape {:?}, the model expects {:?}", actual.dims(), expected.dims());
    }
    Ok(())
}
