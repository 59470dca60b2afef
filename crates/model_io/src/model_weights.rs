//! Content of every model file: an architecture, weights under Hugging Face's names, in the format
//! that their purpose needs, and the ids of the tokens that begin and end a text.

use candle_core::{DType, Device};
use tensor_core::Parameters;

use crate::ModelConfig;

/// Architecture of a model, and its weights under Hugging Face's names.
///
/// The names and shapes are checked against the architecture when the model is built.
pub struct ModelWeights {
    /// Architecture.
    pub config: ModelConfig,
    /// Weights.
    pub parameters: Parameters,
}

/// Purpose of a model, which determines the format of its weights in memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LoadMode {
    /// Inference as small and fast as the file allows: on the CPU, quantized weights stay
    /// quantized.
    Inference,
    /// Inference on dequantized f32 weights: slower, with the exact values of the file.
    DequantizedInference,
    /// Training, on dequantized weights of this dtype.
    Training(DType),
}

impl LoadMode {
    /// Dtype of the weights that are not quantized.
    pub fn dtype(self) -> DType {
        match self {
            Self::Inference | Self::DequantizedInference => DType::F32,
            Self::Training(dtype) => dtype,
        }
    }

    /// True if quantized weights stay quantized.
    pub(crate) fn keeps_quantized(self, device: &Device) -> bool {
        self == Self::Inference && device.is_cpu()
    }
}

/// IDs of the tokens that begin and end a text (`generation_config.json`).
///
/// They are not the special tokens that a tokenizer names: a chat model names one EOS token, but a
/// text may end with any of several.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SpecialTokenIds {
    /// Beginning-of-text token.
    pub bos: Option<u32>,
    /// End tokens of a text or of a chat turn; any of them ends it.
    pub eos: Vec<u32>,
}
