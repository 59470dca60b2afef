//! Low-rank adapters (LoRA): two small trainable matrices beside a layer's weight, which is frozen,
//! and with DoRA the trainable lengths of its rows.
//!
//! The parameters record the linear layers while a model is built, so that adapters can be added to
//! them; the model, built again, uses the adapters. A view without adapters is the base model, on
//! the same memory.

use std::collections::BTreeMap;

use candle_core::{Result, Tensor, Var, bail};

use super::{Parameter, Parameters, Scope, WeightDecay, check_shape, ensure_finite};
use crate::adapter::{LoraAdapter, LoraScaling, Magnitude, row_norms};

/// Names of the matrices and of DoRA's magnitudes below the name of their layer, as in `peft`.
const LORA_A: &str = "lora_A.weight";
const LORA_B: &str = "lora_B.weight";
const MAGNITUDE: &str = "lora_magnitude_vector";

impl Parameters {
    /// Linear layers of the models built so far, by name and shape (out, in), in order.
    pub fn linear_layers(&self) -> &[(String, (usize, usize))] {
        &self.linear_layers
    }

    /// Adds the adapter A, `lora_a: (R, in)`, and B, `lora_b: (out, R)`, to the linear layer
    /// `layer`.
    ///
    /// # Errors
    /// When the layer does not exist or is not linear, already has an adapter, or the shapes do not
    /// fit or a weight is NaN or infinite.
    pub fn add_adapter(
        &mut self,
        layer: &str,
        lora_a: &Tensor,
        lora_b: &Tensor,
        scaling: LoraScaling,
    ) -> Result<()> {
        let found = self.linear_layers.iter().find(|(name, _)| name == layer);
        let Some(&(_, (n_out, n_in))) = found else { bail!("there is no linear layer `{layer}`") };
        if self.adapters.contains_key(layer) {
            bail!("`{layer}` has an adapter already");
        }
        let rank = lora_a.dim(0)?;
        for (name, tensor, shape) in
            [(LORA_A, lora_a, (rank, n_in)), (LORA_B, lora_b, (n_out, rank))]
        {
            check_shape(&format!("{layer}.{name}"), tensor.shape(), &shape.into())?;
            ensure_finite(&tensor.to_dtype(self.dtype)?, &format!("`{layer}.{name}`"))?;
        }
        self.push_adapter_parameter(format!("{layer}.{LORA_A}"), lora_a)?;
        self.push_adapter_parameter(format!("{layer}.{LORA_B}"), lora_b)?;
        self.adapters.insert(layer.to_string(), scaling);
        Ok(())
    }

    /// Makes the adapter of `layer`, whose weight is frozen, one of DoRA with these magnitudes:
    /// (out).
    ///
    /// # Errors
    /// When the layer has no adapter, or magnitudes already, or its weight is trained, or the shape
    /// does not fit or a magnitude is NaN or infinite.
    pub fn add_magnitude(&mut self, layer: &str, magnitude: &Tensor) -> Result<()> {
        let name = format!("{layer}.{MAGNITUDE}");
        let Some([_, lora_b]) = self.adapter_parameters(layer) else {
            bail!("`{layer}` has no adapter to which magnitudes could be added");
        };
        if self.index.contains_key(&name) {
            bail!("the adapter of `{layer}` has magnitudes already");
        }
        if self.get(&format!("{layer}.weight")).is_some_and(|weight| weight.trainable) {
            bail!("the weight of `{layer}` is trained: freeze it before adding magnitudes");
        }
        check_shape(&name, magnitude.shape(), &lora_b.var.dim(0)?.into())?;
        ensure_finite(&magnitude.to_dtype(self.dtype)?, &format!("`{name}`"))?;
        self.push_adapter_parameter(name, magnitude)
    }

    /// Lengths of the rows of the weight of `layer`, the magnitudes of a new adapter: (out), in f32
    /// or wider.
    ///
    /// # Errors
    /// When there is no such layer.
    pub fn row_norms(&self, layer: &str) -> Result<Tensor> {
        let name = format!("{layer}.weight");
        match (self.get(&name), self.quantized.get(&name)) {
            (Some(weight), _) => row_norms(&weight.var.as_detached_tensor()),
            (None, Some(matrix)) => row_norms(&matrix.dequantize()?),
            (None, None) => bail!("there is no linear layer `{layer}`"),
        }
    }

    /// Adds a trainable tensor of an adapter. Without weight decay: B starts at 0, and decay would
    /// only pull the correction back there.
    fn push_adapter_parameter(&mut self, name: String, tensor: &Tensor) -> Result<()> {
        let var = Var::from_tensor(&tensor.to_device(&self.device)?.to_dtype(self.dtype)?)?;
        self.index.insert(name.clone(), self.entries.len());
        let weight_decay = WeightDecay::No;
        self.entries.push(Parameter { name, var, weight_decay, trainable: true });
        Ok(())
    }

    /// Layers with an adapter, and its scaling.
    pub fn adapters(&self) -> &BTreeMap<String, LoraScaling> {
        &self.adapters
    }

    /// Matrices A and B of the adapter of `layer`.
    pub fn adapter_parameters(&self, layer: &str) -> Option<[&Parameter; 2]> {
        let entry = |name| self.get(&format!("{layer}.{name}"));
        Some([entry(LORA_A)?, entry(LORA_B)?])
    }

    /// Magnitudes of the adapter of `layer`, if it is one of DoRA.
    pub fn magnitude(&self, layer: &str) -> Option<&Parameter> {
        self.get(&format!("{layer}.{MAGNITUDE}"))
    }

    /// Parameter called `name`.
    pub fn get(&self, name: &str) -> Option<&Parameter> {
        self.index.get(name).map(|&i| &self.entries[i])
    }

    /// View of the same memory without adapters: the base model.
    pub fn without_adapters(&self) -> Self {
        let mut view = self.view();
        let adapters = std::mem::take(&mut view.adapters);
        let is_adapter = |name: &str| {
            let layer = [LORA_A, LORA_B, MAGNITUDE]
                .iter()
                .find_map(|suffix| name.strip_suffix(suffix)?.strip_suffix('.'));
            layer.is_some_and(|layer| adapters.contains_key(layer))
        };
        view.entries.retain(|parameter| !is_adapter(&parameter.name));
        let names = view.entries.iter().map(|parameter| parameter.name.clone());
        view.index = names.zip(0..).collect();
        view
    }
}

impl Parameter {
    /// True for a matrix of an adapter, by its name.
    pub(crate) fn is_adapter_matrix(&self) -> bool {
        [LORA_A, LORA_B].iter().any(|suffix| self.name.ends_with(suffix))
    }
}

impl Scope<'_> {
    /// Adapter of the linear layer at this scope, with weight shape (out, in), if it has one.
    /// Records the layer as linear.
    pub(crate) fn adapter(&mut self, dims: (usize, usize)) -> Result<Option<LoraAdapter>> {
        let store = &mut *self.parameters;
        if !store.linear_layers.iter().any(|(name, _)| *name == self.path) {
            store.linear_layers.push((self.path.clone(), dims));
        }
        let (Some(&LoraScaling { scale, dropout }), Some([lora_a, lora_b])) =
            (store.adapters.get(&self.path), store.adapter_parameters(&self.path))
        else {
            return Ok(None);
        };
        let (lora_a, lora_b) = (lora_a.tensor(self.dtype)?, lora_b.tensor(self.dtype)?);
        let magnitude = match store.magnitude(&self.path) {
            Some(magnitude) => {
                let vector = magnitude.tensor(magnitude.var.dtype())?;
                Some(Magnitude { vector, weight_norms: store.row_norms(&self.path)? })
            }
            None => None,
        };
        Ok(Some(LoraAdapter { lora_a, lora_b, scale, dropout: self.dropout(dropout), magnitude }))
    }
}
