//! What a model is opened for, which decides how its weights are held.

use candle_core::{DType, Device};

/// What a model is opened for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LoadMode {
    /// Writing, as small and fast as the file allows: on the CPU, blocks of quantized numbers stay blocks.
    Inference,
    /// Writing with full numbers, slower where the file has blocks: what the file says, exactly.
    DequantizedInference,
    /// Training, in numbers of this type.
    Training(DType),
}

impl LoadMode {
    /// The type of the numbers that are not in blocks.
    pub fn dtype(self) -> DType {
        match self {
            Self::Inference | Self::DequantizedInference => DType::F32,
            Self::Training(dtype) => dtype,
        }
    }

    /// Whether blocks stay blocks.
    pub fn keeps_quantized(self, device: &Device) -> bool {
        self == Self::Inference && device.is_cpu()
    }
}
