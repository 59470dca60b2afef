//! Low-rank adapters in a store: two small trainable matrices beside a layer's weight, which stays as it is.
//!
//! The store notes which of its layers are linear as a model is built, so that adapters can be put beside them; the model,
//! built again, finds them there. A twin without them is the model before, on the same memory.

use std::collections::BTreeMap;

use candle_core::{Result, Tensor, Var, bail};

use super::{Parameter, Parameters, Scope, Source, WeightDecay, check_shape};
use crate::adapter::{LoraAdapter, LoraScaling};

/// What the matrices are called, below the name of their layer; as `peft` calls them.
const DOWN: &str = "lora_A.weight";
const UP: &str = "lora_B.weight";

impl Parameters {
    /// The linear layers of the models built so far, by name and (out, in), in order.
    pub fn linear_layers(&self) -> &[(String, (usize, usize))] {
        &self.linear_layers
    }

    /// Puts the adapter A, `down: (R, in)`, and B, `up: (out, R)`, beside the weight of `layer`.
    ///
    /// # Errors
    /// When there is no such linear layer, it has an adapter, or the shapes do not fit it.
    pub fn add_adapter(
        &mut self,
        layer: &str,
        [down, up]: [&Tensor; 2],
        adapting: LoraScaling,
    ) -> Result<()> {
        let known = self.linear_layers.iter().find(|(name, _)| name == layer);
        let Some(&(_, (n_out, n_in))) = known else { bail!("there is no linear layer `{layer}`") };
        if self.adapters.contains_key(layer) {
            bail!("`{layer}` has an adapter already");
        }
        let rank = down.dim(0)?;
        for (name, tensor, shape) in [(DOWN, down, (rank, n_in)), (UP, up, (n_out, rank))] {
            check_shape(&format!("{layer}.{name}"), tensor.shape(), &shape.into())?;
        }
        for (name, tensor) in [(DOWN, down), (UP, up)] {
            let name = format!("{layer}.{name}");
            let var = Var::from_tensor(&tensor.to_device(&self.device)?.to_dtype(self.dtype)?)?;
            self.index.insert(name.clone(), self.entries.len());
            // They start at no correction, and nothing is gained by pulling them back there.
            self.entries.push(Parameter {
                name,
                var,
                weight_decay: WeightDecay::No,
                trainable: true,
            });
        }
        self.adapters.insert(layer.to_string(), adapting);
        Ok(())
    }

    /// The layers that have an adapter, and how it is used.
    pub fn adapters(&self) -> &BTreeMap<String, LoraScaling> {
        &self.adapters
    }

    /// The matrices A and B of `layer`'s adapter.
    pub fn adapter_parameters(&self, layer: &str) -> Option<[&Parameter; 2]> {
        let entry = |name| self.index.get(&format!("{layer}.{name}")).map(|&at| &self.entries[at]);
        Some([entry(DOWN)?, entry(UP)?])
    }

    /// The parameter called `name`.
    pub fn get(&self, name: &str) -> Option<&Parameter> {
        self.index.get(name).map(|&at| &self.entries[at])
    }

    /// The same memory without adapters: for a model as it was before it was adapted.
    pub fn without_adapters(&self) -> Self {
        let mut twin = self.with_compute_dtype(self.dtype);
        let adapters = std::mem::take(&mut twin.adapters);
        let of_adapter = |name: &str| {
            let layer = [DOWN, UP].iter().find_map(|end| name.strip_suffix(end)?.strip_suffix('.'));
            layer.is_some_and(|layer| adapters.contains_key(layer))
        };
        twin.entries.retain(|parameter| !of_adapter(&parameter.name));
        let names = twin.entries.iter().map(|parameter| parameter.name.clone());
        twin.index = names.zip(0..).collect();
        twin.source = Source::Shared;
        twin
    }
}

impl Scope<'_> {
    /// The adapter of the linear layer of this place, (out, in), if it has one.
    pub(crate) fn adapter(&mut self, dims: (usize, usize)) -> Result<Option<LoraAdapter>> {
        let store = &mut *self.parameters;
        if !store.linear_layers.iter().any(|(name, _)| *name == self.path) {
            store.linear_layers.push((self.path.clone(), dims));
        }
        let (Some(&LoraScaling { scale, dropout }), Some([down, up])) =
            (store.adapters.get(&self.path), store.adapter_parameters(&self.path))
        else {
            return Ok(None);
        };
        let (down, up) = (down.tensor(store.dtype)?, up.tensor(store.dtype)?);
        Ok(Some(LoraAdapter { lora_a: down, lora_b: up, scale, dropout: self.dropout(dropout) }))
    }
}
