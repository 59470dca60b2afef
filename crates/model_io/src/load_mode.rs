//! Load mode: the purpose of a model, which determines the format of its weights in memory.

use candle_core::{DType, Device};

/// Format of the weights in memory, by purpose.
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
    pub fn keeps_quantized(self, device: &Device) -> bool {
        self == Self::Inference && device.is_cpu()
    }
}
