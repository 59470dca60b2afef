//! Where a layer's constructor finds its parameters: a place in the tree of their names.

use std::fmt::Display;

use candle_core::{Result, Shape, Tensor};

use super::{Init, Parameters, WeightDecay, check_shape};
use crate::{Dropout, Weight};

/// A place in the tree of names where a layer's constructor finds its parameters.
pub struct Scope<'a> {
    pub(super) parameters: &'a mut Parameters,
    pub(super) path: String,
}

impl Scope<'_> {
    /// The place called `name` below this one.
    pub fn at(&mut self, name: impl Display) -> Scope<'_> {
        let path = self.join(name);
        Scope { parameters: self.parameters, path }
    }

    /// The parameter `name` of this place: made by `init` if new, else the one that exists.
    ///
    /// # Errors
    /// When the store comes from a file that lacks the tensor or holds it with another shape.
    pub fn parameter(
        &mut self,
        name: &str,
        shape: impl Into<Shape>,
        init: Init,
        decay: WeightDecay,
    ) -> Result<Tensor> {
        let name = self.join(name);
        self.parameters.take(name, shape.into(), init, decay)
    }

    /// The matrix `name` of this place, which may be in blocks.
    ///
    /// # Errors
    /// As [`Scope::parameter`].
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

    /// A dropout layer that draws from the store's own stream; off in an inference twin.
    pub fn dropout(&self, probability: f64) -> Dropout {
        Dropout::new(probability, self.parameters.dropout_rng.clone())
    }

    fn join(&self, name: impl Display) -> String {
        if self.path.is_empty() { name.to_string() } else { format!("{}.{name}", self.path) }
    }
}
