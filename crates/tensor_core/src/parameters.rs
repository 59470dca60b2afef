//! The numbers that training changes, by name and in a fixed order.
//!
//! A model's constructor asks a [`Scope`] for each of its tensors: a fresh store draws it from the seed, a store
//! opened from a file hands out what the file holds and checks the shape. The same constructor run on
//! [`Parameters::for_inference`] gives a twin of the model on the same memory: it builds no graph
//! and drops nothing
//! out, and sees every update the optimiser makes.

mod adapters;
mod parameter;
mod scope;
mod views;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt::Display;
use std::sync::{Arc, Mutex};

use candle_core::{DType, Device, Result, Shape, Tensor, Var, bail};

use crate::Rng;
use crate::adapter::LoraScaling;
use crate::quantized::QuantizedMatrix;

pub use parameter::{Init, Parameter, WeightDecay};
pub use scope::Scope;

/// Where a tensor comes from that is asked for the first time.
enum Source {
    /// Drawn from the seed.
    Seed(Rng),
    /// Taken from a file's tensors; what is left when the model stands is an error.
    File { origin: String, tensors: BTreeMap<String, Tensor> },
    /// Another store's parameters: nothing new can be made.
    Shared,
}

/// An ordered store of named parameters on one device.
pub struct Parameters {
    entries: Vec<Parameter>,
    index: HashMap<String, usize>,
    source: Source,
    dtype: DType,
    device: Device,
    /// Matrices of layers in blocks, which are no parameters: nothing trains them.
    quantized: BTreeMap<String, QuantizedMatrix>,
    /// Which of these have no layer as yet.
    unclaimed: BTreeSet<String>,
    /// Every linear layer that was built, (out, in).
    linear_layers: Vec<(String, (usize, usize))>,
    /// The linear layers that have an adapter.
    adapters: BTreeMap<String, LoraScaling>,
    /// One stream for all dropout layers; `None` where nothing is dropped.
    dropout_rng: Option<Arc<Mutex<Rng>>>,
}

impl Parameters {
    /// An empty store whose parameters are drawn from `seed` in the order a model asks for them.
    pub fn seeded(seed: u64, dtype: DType, device: &Device) -> Self {
        let mut rng = Rng::new(seed);
        let dropout_rng = rng.fork();
        Self::empty(Source::Seed(rng), dropout_rng, dtype, device)
    }

    /// A store of the tensors read from `origin` (a path, for messages), dropout seeded by `seed`.
    /// Call [`Parameters::ensure_all_used`] once the model stands.
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
            device,
            quantized,
            unclaimed,
            linear_layers,
            adapters,
            dropout_rng,
        }
    }

    /// The same, with some matrices in blocks.
    pub fn with_quantized(self, quantized: BTreeMap<String, QuantizedMatrix>) -> Self {
        let unclaimed = quantized.keys().cloned().collect();
        Self { quantized, unclaimed, ..self }
    }

    /// Where a model's constructor starts.
    pub fn root(&mut self) -> Scope<'_> {
        Scope { parameters: self, path: String::new() }
    }

    /// Checks that the model took every tensor of the file it was opened from.
    ///
    /// # Errors
    /// Names a tensor that the model has no place for.
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

    /// Keeps the parameters whose name satisfies `frozen` as they are. A model built before does not notice: build
    /// it again, which costs nothing.
    pub fn freeze(&mut self, frozen: impl Fn(&str) -> bool) {
        for parameter in &mut self.entries {
            parameter.trainable &= !frozen(&parameter.name);
        }
    }

    /// All parameters, in the order the model asked for them.
    pub fn iter(&self) -> impl Iterator<Item = &Parameter> {
        self.entries.iter()
    }

    /// The parameters that training changes.
    pub fn trainable(&self) -> impl Iterator<Item = &Parameter> {
        self.iter().filter(|p| p.trainable)
    }

    /// How many numbers the store holds.
    pub fn n_parameters(&self) -> usize {
        let quantized = self.quantized.values().map(|matrix| matrix.dims().0 * matrix.dims().1);
        self.iter().map(|p| p.var.elem_count()).chain(quantized).sum()
    }

    /// Whether some matrices are in blocks, and so not among the parameters.
    pub fn is_quantized(&self) -> bool {
        !self.quantized.is_empty()
    }

    /// The device the parameters live on.
    pub fn device(&self) -> &Device {
        &self.device
    }

    /// The type of the numbers that a model gets.
    pub fn dtype(&self) -> DType {
        self.dtype
    }

    fn take(
        &mut self,
        name: String,
        shape: Shape,
        init: Init,
        decay: WeightDecay,
    ) -> Result<Tensor> {
        if let Some(&at) = self.index.get(&name) {
            let parameter = &self.entries[at];
            check_shape(&name, parameter.var.shape(), &shape)?;
            return parameter.tensor(self.dtype);
        }
        let tensor = match &mut self.source {
            Source::Seed(rng) => match init {
                Init::Zeros => Tensor::zeros(shape, self.dtype, &self.device)?,
                Init::Ones => Tensor::ones(shape, self.dtype, &self.device)?,
                Init::Normal { std } => rng.normal_tensor(shape, std, self.dtype, &self.device)?,
                Init::Uniform { bound } => {
                    rng.uniform_tensor(shape, (-bound, bound), self.dtype, &self.device)?
                }
            },
            Source::File { origin, tensors } => {
                let Some(tensor) = tensors.remove(&name) else {
                    bail!("{origin}: tensor `{name}` is missing");
                };
                check_shape(&format!("{origin}: {name}"), tensor.shape(), &shape)?;
                if !tensor.dtype().is_float() {
                    bail!(
                        "{origin}: `{name}` holds {:?}, which is no type of weights",
                        tensor.dtype()
                    );
                }
                tensor.to_device(&self.device)?.to_dtype(self.dtype)?
            }
            Source::Shared => {
                bail!("no parameter `{name}`: the model differs from the one trained")
            }
        };
        let var = Var::from_tensor(&tensor)?;
        let parameter = Parameter { name: name.clone(), var, weight_decay: decay, trainable: true };
        let tensor = parameter.tensor(self.dtype)?;
        self.index.insert(name, self.entries.len());
        self.entries.push(parameter);
        Ok(tensor)
    }
}

fn check_shape(name: &str, found: &Shape, expected: &Shape) -> Result<()> {
    if found != expected {
        bail!("{name} has shape {:?}, the model expects {:?}", found.dims(), expected.dims());
    }
    Ok(())
}
