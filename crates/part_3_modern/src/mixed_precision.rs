//! Models that compute with rounded copies of their weights (mixed precision, part 4).
//!
//! A model in f32 shares the memory of its [`Parameters`] and sees every step of the optimizer. One
//! that computes in 16 bits has copies of the master weights, rounded when it was built.

use candle_core::Result;
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
