//! Models written for candle-nn, on these parameters.
//!
//! candle-nn's layers request their tensors from a `VarBuilder`, ours from a [`Scope`]; both names
//! the same place in the same store. So a model of candle-nn or candle-transformers can be
//! initialized from a seed or loaded strictly from a file, frozen, given adapters, clipped, trained
//! by [`AdamW`](crate::AdamW) and saved as ours are.

use std::sync::{Mutex, PoisonError};

use candle_core::{DType, Device, Result, Shape, Tensor, bail};
use candle_nn::VarBuilder;
use candle_nn::init::{Init as CandleInit, NormalOrUniform};
use candle_nn::var_builder::SimpleBackend;

use super::{Init, Parameter, Parameters, Scope, Source, WeightDecay};

impl Parameters {
    /// candle-nn's builder over these parameters, for a model's constructor.
    ///
    /// The decay groups are those of our layers: weight decay applies to tensors of two and more
    /// dimensions, but not to the tables of `candle_nn::embedding`, which are the tensors that are
    /// to be normal with standard deviation 1. [`Parameters::set_weight_decay`] changes that.
    ///
    /// Any other matrix called `weight` is that of a linear layer, and may have an adapter.
    /// candle-nn's layer then holds the merged weight of the time when it was built, so build the
    /// model again after each optimizer step, as under a compute dtype.
    ///
    /// ```
    /// use candle_core::{DType, Device, Module, Result};
    /// use tensor_core::Parameters;
    ///
    /// fn main() -> Result<()> {
    ///     let mut parameters = Parameters::seeded(0, DType::F32, &Device::Cpu);
    ///     let builder = parameters.var_builder();
    ///     let layer = candle_nn::linear(4, 2, builder.pp("layer"))?;
    ///     drop(builder);
    ///     let names: Vec<&str> = parameters.iter().map(|one| one.name.as_str()).collect();
    ///     assert_eq!(names, ["layer.weight", "layer.bias"]);
    ///     let x = candle_core::Tensor::ones((1, 4), DType::F32, &Device::Cpu)?;
    ///     assert_eq!(layer.forward(&x)?.dims(), [1, 2]);
    ///     Ok(())
    /// }
    /// ```
    pub fn var_builder(&mut self) -> VarBuilder<'_> {
        let (dtype, device) = (self.dtype, self.device.clone());
        VarBuilder::from_backend(Box::new(Backend(Mutex::new(self))), dtype, device)
    }

    /// Sets which parameters have weight decay, in optimizers that are made from now on. Parameters
    /// that a layer requests later are in the decay group of their layer.
    pub fn set_weight_decay(&mut self, decays: impl Fn(&Parameter) -> bool) {
        for parameter in &mut self.entries {
            let decays = decays(parameter);
            parameter.weight_decay = if decays { WeightDecay::Yes } else { WeightDecay::No };
        }
    }

    /// Shape of the tensor `name`, if it has one before a layer requests it.
    fn known_shape(&self, name: &str) -> Option<Shape> {
        match (self.get(name), &self.source) {
            (Some(parameter), _) => Some(parameter.var.shape().clone()),
            (None, Source::File { tensors, .. }) => {
                tensors.get(name).map(|tensor| tensor.shape().clone())
            }
            (None, Source::Seed(_) | Source::Shared) => None,
        }
    }

    /// Tensor `name` for a layer of candle-nn, which would initialize it by `init`.
    fn candle_tensor(&mut self, name: &str, shape: Shape, init: CandleInit) -> Result<Tensor> {
        if self.quantized.contains_key(name) {
            bail!("`{name}` is quantized, and candle-nn's layers compute with numbers");
        }
        let is_embedding = matches!(init, CandleInit::Randn { mean: 0., stdev: 1. });
        let decays = shape.rank() > 1 && !is_embedding;
        let weight_decay = if decays { WeightDecay::Yes } else { WeightDecay::No };
        let init = match self.source {
            Source::Seed(_) => init_of(init, &shape)?,
            Source::File { .. } | Source::Shared => Init::Zeros, // not initialized
        };
        let dims = shape.dims2().ok();
        let (path, dtype) = (name.to_string(), self.dtype);
        let tensor = self.get_or_create(path, shape, init, weight_decay, dtype)?;
        let (Some(layer), Some(dims), true) = (name.strip_suffix(".weight"), dims, decays) else {
            return Ok(tensor);
        };
        let mut scope = Scope { path: layer.to_string(), ..self.root() };
        let Some(adapter) = scope.adapter(dims)? else {
            return Ok(tensor);
        };
        if adapter.dropout.is_active() {
            bail!("`{layer}`: a layer of candle-nn cannot drop out the input of its adapter");
        }
        adapter.merged(&tensor)
    }
}

/// Initialization that candle-nn asks for, as one of ours.
fn init_of(init: CandleInit, shape: &Shape) -> Result<Init> {
    Ok(match init {
        CandleInit::Const(0.) => Init::Zeros,
        CandleInit::Const(1.) => Init::Ones,
        CandleInit::Const(value) => Init::Constant { value },
        CandleInit::Randn { mean: 0., stdev } => Init::Normal { std: stdev },
        CandleInit::Uniform { lo, up } if lo == -up => Init::Uniform { bound: up },
        CandleInit::Kaiming { dist, fan, non_linearity } => {
            let std = non_linearity.gain() / (fan.for_shape(shape) as f64).sqrt();
            match dist {
                NormalOrUniform::Normal => Init::Normal { std },
                NormalOrUniform::Uniform => Init::Uniform { bound: 3f64.sqrt() * std },
            }
        }
        other => bail!("parameters cannot be initialized by {other:?}"),
    })
}

/// Parameters as the source of candle-nn's builder, which shares it.
struct Backend<'a>(Mutex<&'a mut Parameters>);

impl Backend<'_> {
    /// Calls `request` with the parameters, then converts the tensor to the dtype that the layer
    /// computes in.
    fn tensor(
        &self,
        dtype: DType,
        device: &Device,
        request: impl FnOnce(&mut Parameters) -> Result<Tensor>,
    ) -> Result<Tensor> {
        let mut parameters = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if parameters.dtype != parameters.compute_dtype {
            bail!(
                "candle-nn's layers multiply matrices in the dtype of their tensors: they cannot \
                 compute in {:?} on the CPU",
                parameters.compute_dtype
            );
        }
        if !device.same_device(&parameters.device) {
            let (here, there) = (parameters.device.location(), device.location());
            bail!("the parameters are on {here:?}, and a layer wants them on {there:?}");
        }
        request(&mut parameters)?.to_dtype(dtype)
    }
}

impl SimpleBackend for Backend<'_> {
    fn get(
        &self,
        shape: Shape,
        name: &str,
        init: CandleInit,
        dtype: DType,
        device: &Device,
    ) -> Result<Tensor> {
        self.tensor(dtype, device, |parameters| parameters.candle_tensor(name, shape, init))
    }

    fn get_unchecked(&self, name: &str, dtype: DType, device: &Device) -> Result<Tensor> {
        self.tensor(dtype, device, |parameters| match parameters.known_shape(name) {
            Some(shape) => parameters.candle_tensor(name, shape, CandleInit::Const(0.)),
            None => bail!("tensor `{name}` is missing, and without a shape it cannot be created"),
        })
    }

    fn contains_tensor(&self, name: &str) -> bool {
        let parameters = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        parameters.known_shape(name).is_some()
    }
}
