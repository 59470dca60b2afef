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
    /// Dtype in which the layers compute.
    pub(super) dtype: DType,
}

impl Parameters {
    /// Root scope, for a model's constructor.
    pub fn root(&mut self) -> Scope<'_> {
        let dtype = self.dtype;
        Scope { parameters: self, path: String::new(), dtype }
    }
}

impl Scope<'_> {
    /// Scope `name` below this one.
    pub fn at(&mut self, name: impl Display) -> Scope<'_> {
        let path = self.join(name);
        Scope { parameters: self.parameters, path, dtype: self.dtype }
    }

    /// This scope, for layers that compute in f32 or wider although the model computes in 16 bits,
    /// such as a reward head.
    pub fn at_least_f32(self) -> Self {
        Self { dtype: dtype_at_least_f32(self.dtype), ..self }
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
        let Some(matrix) = self.parameters.quantized.get(&path) else {
            return Ok(Weight::Unquantized(self.parameter(name, (rows, columns), init, decay)?));
        };
        let matrix = matrix.clone();
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
