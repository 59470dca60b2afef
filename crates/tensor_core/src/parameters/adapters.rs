//! Low-rank adapters (LoRA): two small trainable matrices beside a layer's weight, which is frozen.
//!
//! The parameters record the linear layers while a model is built, so that adapters can be added to
//! them; the model, built again, uses the adapters. A view without adapters is the base model, on
//! the same memory.

use std::collections::BTreeMap;

use candle_core::{Result, Tensor, Var, bail};

use super::{Parameter, Parameters, Scope, Source, WeightDecay, check_shape, ensure_finite};
use crate::adapter::{LoraAdapter, LoraScaling};

/// Names of the two matrices below the name of their layer, as in `peft`.
const LORA_A: &str = "lora_A.weight";
const LORA_B: &str = "lora_B.weight";

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
        [lora_a, lora_b]: [&Tensor; 2],
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
        for (name, tensor) in [(LORA_A, lora_a), (LORA_B, lora_b)] {
            let name = format!("{layer}.{name}");
            let var = Var::from_tensor(&tensor.to_device(&self.device)?.to_dtype(self.dtype)?)?;
            self.index.insert(name.clone(), self.entries.len());
            // No weight decay: B starts at 0, and decay would only pull the correction back there.
            self.entries.push(Parameter {
                name,
                var,
                weight_decay: WeightDecay::No,
                trainable: true,
            });
        }
        self.adapters.insert(layer.to_string(), scaling);
        Ok(())
    }

    /// Layers with an adapter, and its scaling.
    pub fn adapters(&self) -> &BTreeMap<String, LoraScaling> {
        &self.adapters
    }

    /// Matrices A and B of the adapter of `layer`.
    pub fn adapter_parameters(&self, layer: &str) -> Option<[&Parameter; 2]> {
        let entry = |name| self.index.get(&format!("{layer}.{name}")).map(|&i| &self.entries[i]);
        Some([entry(LORA_A)?, entry(LORA_B)?])
    }

    /// Parameter called `name`.
    pub fn get(&self, name: &str) -> Option<&Parameter> {
        self.index.get(name).map(|&i| &self.entries[i])
    }

    /// View of the same memory without adapters: the base model.
    pub fn without_adapters(&self) -> Self {
        let mut view = self.with_compute_dtype(self.dtype);
        let adapters = std::mem::take(&mut view.adapters);
        let is_adapter = |name: &str| {
            let layer = [LORA_A, LORA_B]
                .iter()
                .find_map(|suffix| name.strip_suffix(suffix)?.strip_suffix('.'));
            layer.is_some_and(|layer| adapters.contains_key(layer))
        };
        view.entries.retain(|parameter| !is_adapter(&parameter.name));
        let names = view.entries.iter().map(|parameter| parameter.name.clone());
        view.index = names.zip(0..).collect();
        view.source = Source::Shared;
        view
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
        let (lora_a, lora_b) = (lora_a.tensor(store.dtype)?, lora_b.tensor(store.dtype)?);
        Ok(Some(LoraAdapter { lora_a, lora_b, scale, dropout: self.dropout(dropout) }))
    }
}
