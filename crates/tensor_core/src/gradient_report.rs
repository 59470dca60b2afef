//! Gradient report: which parameters a loss reaches, and how large their gradients are.
//!
//! An operation without a derivative cuts the graph in silence: everything that is computed before
//! it stays as it was initialized, and the loss falls nevertheless, only less. candle-nn's fused
//! operations (`rms_norm`, `layer_norm`, `softmax_last_dim`, `rope`, `sdpa`) are such. The report
//! names the parameters that are cut off.

use std::fmt::{Display, Formatter};

use candle_core::backprop::GradStore;
use candle_core::{Result, Tensor, bail};

use crate::clip::sum_of_squares;
use crate::{Parameters, backward};

/// Gradient of one trainable parameter.
#[derive(Debug, Clone, PartialEq)]
pub struct GradientRow {
    /// Name of the parameter.
    pub name: String,
    /// Its shape.
    pub dims: Vec<usize>,
    /// L2 norm of its gradient; `None` if the loss does not depend on it.
    pub norm: Option<f64>,
}

/// Gradients of a loss, a row per trainable parameter, in order. Displayed as a table.
#[derive(Debug, Clone, PartialEq)]
pub struct GradientReport {
    /// Rows, one per trainable parameter.
    pub rows: Vec<GradientRow>,
}

/// Differentiates `loss`, and reports the gradient of each trainable parameter.
///
/// # Errors
/// Those of [`backward`].
pub fn gradient_report(loss: &Tensor, parameters: &Parameters) -> Result<GradientReport> {
    GradientReport::new(&backward(loss)?, parameters)
}

impl GradientReport {
    /// Report of `grads`.
    ///
    /// # Errors
    /// When memory is short.
    pub fn new(grads: &GradStore, parameters: &Parameters) -> Result<Self> {
        let mut rows = Vec::new();
        for parameter in parameters.trainable() {
            let squares = match grads.get(parameter.var.as_tensor()) {
                Some(grad) => Some(sum_of_squares([grad])?),
                None => None,
            };
            let (name, dims) = (parameter.name.clone(), parameter.var.dims().to_vec());
            rows.push(GradientRow { name, dims, norm: squares.map(f64::sqrt) });
        }
        Ok(Self { rows })
    }

    /// Names of the parameters that got no gradient.
    pub fn without_gradient(&self) -> impl Iterator<Item = &str> {
        self.rows.iter().filter(|row| row.norm.is_none()).map(|row| row.name.as_str())
    }

    /// Checks that every trainable parameter has a gradient that is finite and not 0.
    ///
    /// # Errors
    /// Names the parameters whose gradient is missing, 0 or not finite.
    pub fn ensure_complete(&self) -> Result<()> {
        let faults: Vec<String> = self.rows.iter().filter_map(GradientRow::fault).collect();
        match (self.rows.is_empty(), faults.is_empty()) {
            (true, _) => bail!("there are no trainable parameters"),
            (false, true) => Ok(()),
            (false, false) => bail!(
                "{} of {} trainable parameters are not trained: {}",
                faults.len(),
                self.rows.len(),
                faults.join(", ")
            ),
        }
    }
}

impl GradientRow {
    /// Name and fault of a gradient that trains nothing.
    fn fault(&self) -> Option<String> {
        let fault = match self.norm {
            None => "no gradient",
            Some(0.) => "gradient 0",
            Some(norm) if !norm.is_finite() => "gradient not finite",
            Some(_) => return None,
        };
        Some(format!("{} ({fault})", self.name))
    }
}

impl Display for GradientReport {
    fn fmt(&self, f: &mut Formatter<'_>) -> std::fmt::Result {
        let width = self.rows.iter().map(|row| row.name.len()).max().unwrap_or_default();
        for GradientRow { name, dims, norm } in &self.rows {
            match norm {
                Some(norm) => writeln!(f, "{name:width$}  {dims:?}  {norm:.3e}")?,
                None => writeln!(f, "{name:width$}  {dims:?}  no gradient")?,
            }
        }
        let trained = self.rows.len() - self.without_gradient().count();
        write!(f, "{trained} of {} parameters have a gradient", self.rows.len())
    }
}
