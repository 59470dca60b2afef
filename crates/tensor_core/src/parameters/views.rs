//! Views of the same parameters: for inference, and for computing in a lower precision (mixed
//! precision with master weights).

use std::collections::BTreeSet;

use candle_core::{DType, Result, Var, bail};

use super::{Parameters, Source};
use crate::Rng;
use crate::dropout::lock;

impl Parameters {
    /// View of the same memory for inference: no graph is built, no dropout is applied.
    pub fn for_inference(&self) -> Self {
        let mut view = self.view();
        view.entries.iter_mut().for_each(|parameter| parameter.trainable = false);
        Self { dropout_rng: None, ..view }
    }

    /// View of the same memory for a model that computes in `dtype` (mixed precision with master
    /// weights); its gradients flow back to the parameters in their own dtype.
    ///
    /// All tensors of the model have that dtype. It gets the current values rounded, so build it
    /// again after each optimizer step.
    ///
    /// bf16 on the CPU is for weights in f32: the linear layers round the operands of their
    /// products to bf16 and add up in f32, forward and backward, and all tensors stay f32.
    /// (`torch.autocast` also rounds the results, and computes attention in bf16.) Adapters, which
    /// are small, compute in f32. CPUs without bf16 units compute the same in f32, but for the
    /// order of sums. The model shares the memory of the parameters.
    pub fn with_compute_dtype(&self, dtype: DType) -> Self {
        let tensors = match (dtype, self.dtype) {
            (DType::BF16, DType::F32) if self.device.is_cpu() => DType::F32,
            _ => dtype,
        };
        Self { dtype: tensors, compute_dtype: dtype, ..self.view() }
    }

    /// View of the same memory, for the same arithmetic.
    pub(super) fn view(&self) -> Self {
        Self {
            entries: self.entries.clone(),
            index: self.index.clone(),
            source: Source::Shared,
            dtype: self.dtype,
            compute_dtype: self.compute_dtype,
            device: self.device.clone(),
            quantized: self.quantized.clone(),
            unclaimed: BTreeSet::new(),
            linear_layers: self.linear_layers.clone(),
            adapters: self.adapters.clone(),
            dropout_rng: self.dropout_rng.clone(),
        }
    }

    /// These parameters, whose models compute in `dtype` from now on, as those of
    /// [`Parameters::with_compute_dtype`]. Trained weights stay as they are: they are the master
    /// weights. Frozen weights are rounded themselves, so that in 16 bits they take half the
    /// memory; for bf16 on the CPU those of linear layers, whose products in bf16 stay the same.
    /// Adapters are added before; new parameters cannot be created.
    ///
    /// # Errors
    /// When matrices are quantized, which compute in f32, or memory is short.
    pub fn into_compute_dtype(self, dtype: DType) -> Result<Self> {
        if dtype == self.compute_dtype {
            return Ok(self);
        }
        if self.is_quantized() {
            bail!("quantized weights compute in f32, not in {dtype:?}");
        }
        let mut view = self.with_compute_dtype(dtype);
        let linear_weights: BTreeSet<String> =
            view.linear_layers.iter().map(|(layer, _)| format!("{layer}.weight")).collect();
        let rounds_all = view.dtype == dtype;
        let frozen = view.entries.iter_mut().filter(|parameter| !parameter.trainable);
        for parameter in frozen.filter(|p| rounds_all || linear_weights.contains(&p.name)) {
            let rounded = parameter.var.as_detached_tensor().to_dtype(dtype)?;
            parameter.var = Var::from_tensor(&rounded)?;
        }
        Ok(view)
    }

    /// True if models of these parameters have rounded copies of some weights, and must be built
    /// again after each change of the weights.
    pub fn is_mixed_precision(&self) -> bool {
        self.dtype == self.compute_dtype
            && self.entries.iter().any(|parameter| parameter.var.dtype() != self.dtype)
    }

    /// Widest dtype in which weights are stored: under mixed precision that of the master weights.
    pub fn stored_dtype(&self) -> DType {
        let dtypes = self.entries.iter().map(|parameter| parameter.var.dtype());
        dtypes.max_by_key(|dtype| dtype.size_in_bytes()).unwrap_or(self.dtype)
    }

    /// State of the dropout stream; `None` for inference.
    pub fn dropout_rng(&self) -> Option<Rng> {
        self.dropout_rng.as_deref().map(|rng| lock(rng).clone())
    }

    /// Sets the dropout stream of these parameters and of all views of the same memory.
    pub fn set_dropout_rng(&self, state: Rng) {
        if let Some(rng) = &self.dropout_rng {
            *lock(rng) = state;
        }
    }
}
