//! Models that compute with rounded copies of their weights (mixed precision, part 4).
//!
//! A model in f32 shares the memory of its [`Parameters`] and sees every step of the optimizer,
//! also where its products are in bf16 (on the CPU). One whose tensors have 16 bits has copies of
//! the master weights, rounded when it was built.

use candle_core::Result;
use model_io::ModelConfig;
use tensor_core::Parameters;

use crate::GptModern;

impl GptModern {
    /// Builds the model again if it has rounded copies of the weights of `parameters`, which it is
    /// a model of: needed after each change of the weights. Other models stay as they are.
    ///
    /// # Errors
    /// When memory is short.
    pub fn refresh(&mut self, parameters: &mut Parameters) -> Result<()> {
        if parameters.is_mixed_precision() {
            let (dropout, checkpointing) = (self.dropout().clone(), self.gradient_checkpointing());
            let model = Self::new(self.config(), parameters.root())?;
            *self = model.for_training(dropout, checkpointing);
        }
        Ok(())
    }
}

/// Two models of the same parameters: one to train, one to sample from and to validate.
#[derive(Debug, Clone)]
pub struct TrainingModels {
    /// Model for training, with a graph and with the adapters' dropout.
    pub training: GptModern,
    /// Model for inference, without either.
    pub inference: GptModern,
    /// Whether the weights have changed since the model for inference was built.
    has_new_weights: bool,
}

impl TrainingModels {
    /// Models of `config` with the weights of `parameters`.
    ///
    /// # Errors
    /// When the weights do not fit `config`.
    pub fn new(config: &ModelConfig, parameters: &mut Parameters) -> Result<Self> {
        Ok(Self {
            training: GptModern::new(config, parameters.root())?,
            inference: GptModern::new(config, parameters.for_inference().root())?,
            has_new_weights: false,
        })
    }

    /// Like [`GptModern::refresh`] for the model for training, after each change of the weights of
    /// `parameters`.
    ///
    /// # Errors
    /// When memory is short.
    pub fn refresh(&mut self, parameters: &mut Parameters) -> Result<()> {
        self.has_new_weights = true;
        self.training.refresh(parameters)
    }

    /// Like [`refresh`](Self::refresh) for the model for inference, before it is used: it is built
    /// once for all changes since.
    ///
    /// # Errors
    /// When memory is short.
    pub fn refresh_inference(&mut self, parameters: &Parameters) -> Result<()> {
        if std::mem::take(&mut self.has_new_weights) {
            self.inference.refresh(&mut parameters.for_inference())?;
        }
        Ok(())
    }
}
