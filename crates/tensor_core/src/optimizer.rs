//! Optimizer of a run: [`AdamW`] for all parameters, or [`Muon`] for the hidden matrices with AdamW
//! for the rest. Both have the same steps, and a state that can be saved.

use std::collections::BTreeMap;

use candle_core::backprop::GradStore;
use candle_core::{Result, Tensor};
use serde::Serialize;

use crate::Parameters;
use crate::adamw::{AdamW, AdamWConfig};
use crate::muon::{Muon, MuonConfig};

/// Hyperparameters of an [`Optimizer`], which they choose.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
#[serde(untagged)]
pub enum OptimizerConfig {
    /// AdamW for all parameters.
    AdamW(AdamWConfig),
    /// Muon for the hidden matrices, AdamW for the rest.
    Muon(MuonConfig),
}

impl OptimizerConfig {
    /// Hyperparameters of AdamW, which trains at least a part of the parameters.
    pub fn adamw(&self) -> AdamWConfig {
        match self {
            Self::AdamW(config) => *config,
            Self::Muon(config) => config.adamw,
        }
    }
}

impl Default for OptimizerConfig {
    fn default() -> Self {
        Self::AdamW(AdamWConfig::default())
    }
}

impl From<AdamWConfig> for OptimizerConfig {
    fn from(config: AdamWConfig) -> Self {
        Self::AdamW(config)
    }
}

/// Optimizer with its state.
pub enum Optimizer {
    /// AdamW for all parameters.
    AdamW(AdamW),
    /// Muon for the hidden matrices, AdamW for the rest.
    Muon(Muon),
}

impl From<AdamW> for Optimizer {
    fn from(optimizer: AdamW) -> Self {
        Self::AdamW(optimizer)
    }
}

impl Optimizer {
    /// Optimizer of all trainable `parameters`, with a state of zeros.
    ///
    /// # Errors
    /// When memory is short, or the configuration does not fit the device or the dtype.
    pub fn new(parameters: &Parameters, config: OptimizerConfig) -> Result<Self> {
        Ok(match config {
            OptimizerConfig::AdamW(config) => Self::AdamW(AdamW::new(parameters, config)?),
            OptimizerConfig::Muon(config) => Self::Muon(Muon::new(parameters, config)?),
        })
    }

    /// Updates every parameter that has a gradient in `grads`, at learning rate `lr`.
    ///
    /// # Errors
    /// When memory is short.
    pub fn step(&mut self, grads: &GradStore, lr: f64) -> Result<()> {
        match self {
            Self::AdamW(optimizer) => optimizer.step(grads, lr),
            Self::Muon(optimizer) => optimizer.step(grads, lr),
        }
    }

    /// Copy of the state by name, to be written to a file.
    ///
    /// # Errors
    /// Those of [`AdamW::state_dict`].
    pub fn state_dict(&self) -> Result<BTreeMap<String, Tensor>> {
        self.state_view()?.into_iter().map(|(name, tensor)| Ok((name, tensor.copy()?))).collect()
    }

    /// [`Optimizer::state_dict`] in the memory of the optimizer, which the next step changes: to be
    /// written at once.
    ///
    /// # Errors
    /// Those of [`AdamW::state_dict`].
    pub fn state_view(&self) -> Result<BTreeMap<String, Tensor>> {
        match self {
            Self::AdamW(optimizer) => optimizer.state_view(),
            Self::Muon(optimizer) => optimizer.state_view(),
        }
    }

    /// Restores the state returned by [`Optimizer::state_dict`].
    ///
    /// # Errors
    /// Names a tensor that is missing, unexpected, misshapen, or of another optimizer; the
    /// optimizer is then unchanged.
    pub fn load_state_dict(&mut self, state: BTreeMap<String, Tensor>) -> Result<()> {
        match self {
            Self::AdamW(optimizer) => optimizer.load_state_dict(state),
            Self::Muon(optimizer) => optimizer.load_state_dict(state),
        }
    }
}
