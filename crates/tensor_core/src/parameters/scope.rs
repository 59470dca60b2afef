//! Scope: the place in the tree of parameter names at which a layer requests its parameters.

use std::fmt::Display;

use candle_core::{DType, Result, Shape, Tensor};

use super::{Init, Parameters, WeightDecay, check_shape};
use crate::precision::dtype_at_least_f32;
use crate::{Dropout, Weight};

/// Place in the tree of parameter names, given to a layer's constructor (as candle's `VarBuilder`).
pub struct Scope<'a> {
    pub(super) parameters: &'a mut Parameters,
    pub(super) path: String,
    /// Dtype of the layers' tensors.
    pub(super) dtype: DType,
    /// Dtype of the operands of their matrix products.
    pub(super) compute_dtype: DType,
}

impl Parameters {
    /// Root scope, for a model's constructor.
    pub fn root(&mut self) -> Scope<'_> {
        let (dtype, compute_dtype) = (self.dtype, self.compute_dtype);
        Scope { parameters: self, path: String::new(), dtype, compute_dtype }
    }
}

impl Scope<'_> {
    /// Scope `name` below this one.
    pub fn at(&mut self, name: impl Display) -> Scope<'_> {
        let path = self.join(name);
        let Self { ref mut parameters, dtype, compute_dtype, .. } = *self;
        Scope { parameters, path, dtype, compute_dtype }
    }

    /// This scope, for layers that compute in f32 or wider although the model computes in 16 bits,
    /// such as a reward head.
    pub fn at_least_f32(self) -> Self {
        let [dtype, compute_dtype] = [self.dtype, self.compute_dtype].map(dtype_at_least_f32);
        Self { dtype, compute_dtype, ..self }
    }

    /// Parameter `name` of this scope, initialized by `init` if it is new.
    ///
    /// # Errors
    /// When the parameters come from a file that lacks the tensor or has it in another shape.
    pub fn parameter(
        &mut self,
        name: &str,
        shape: impl Into<Shape>,
        init: Init,
        decay: WeightDecay,
    ) -> Result<Tensor> {
        let name = self.join(name);
        self.parameters.get_or_create(name, shape.into(), init, decay, self.dtype)
    }

    /// Matrix `name` of this scope, which may be quantized.
    ///
    /// # Errors
    /// See [`Scope::parameter`].
    pub fn matrix(
        &mut self,
        name: &str,
        (rows, columns): (usize, usize),
        init: Init,
        decay: WeightDecay,
    ) -> Result<Weight> {
        let path = self.join(name);
        let Some(matrix) = self.parameters.quantized.get(&path).cloned() else {
            let rounds_products = self.dtype != self.compute_dtype;
            let stored = self.parameters.get(&path).map(|parameter| parameter.var.dtype());
            let dtype = match stored {
                Some(DType::BF16) if rounds_products => DType::BF16, // frozen, and rounded
                _ => self.dtype,
            };
            let shape = (rows, columns).into();
            let weight = self.parameters.get_or_create(path, shape, init, decay, dtype)?;
            return Ok(match rounds_products {
                true => Weight::Bf16Products(weight),
                false => Weight::Unquantized(weight),
            });
        };
        check_shape(&path, &matrix.dims().into(), &(rows, columns).into())?;
        self.parameters.unclaimed.remove(&path);
        Ok(Weight::Quantized(matrix))
    }

    /// Dropout layer on the shared dropout stream; inactive in inference copies.
    pub fn dropout(&self, probability: f64) -> Dropout {
        Dropout::new(probability, self.parameters.dropout_rng.clone())
    }

    fn join(&self, name: impl Display) -> String {
        if self.path.is_empty() { name.to_string() } else { format!("{}.{name}", self.path) }
    }
}
