//! The device that tensors live on: the CPU, or a CUDA GPU if the build has CUDA.

use std::fmt;
use std::str::FromStr;

use candle_core::{Device, Result};
use serde::{Serialize, Serializer};

/// Value of `--device`: `auto`, `cpu`, `cuda` or `cuda:N`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum DeviceChoice {
    /// CUDA GPU if the build has CUDA and a GPU is available, else the CPU.
    #[default]
    Auto,
    /// CPU.
    Cpu,
    /// CUDA GPU, that with this index if there is one.
    Cuda(Option<usize>),
}

impl DeviceChoice {
    /// Opens the device. Without an index, it is the first GPU.
    ///
    /// # Errors
    /// When a CUDA GPU was requested explicitly and is not available.
    pub fn open(self) -> Result<Device> {
        self.open_on(0)
    }

    /// Opens the device of the process that is number `local_rank` of those that compute together
    /// on this host. Without an index, each has a GPU of its own if there are enough.
    ///
    /// # Errors
    /// When a CUDA GPU was requested explicitly and is not available.
    pub fn open_on(self, local_rank: usize) -> Result<Device> {
        let gpu = |index| gpu_index(index, local_rank, n_gpus());
        match self {
            Self::Auto if n_gpus() > 0 => Device::new_cuda(gpu(None)),
            Self::Auto | Self::Cpu => Ok(Device::Cpu),
            Self::Cuda(index) => Device::new_cuda(gpu(index)),
        }
    }
}

/// Index of the GPU of process `local_rank` of a host with `n_gpus` GPUs: `index` if one is given,
/// else that of the process, and from the first again if there are fewer GPUs.
pub(crate) fn gpu_index(index: Option<usize>, local_rank: usize, n_gpus: usize) -> usize {
    index.unwrap_or(local_rank % n_gpus.max(1))
}

/// Number of GPUs that this process may use.
#[cfg(feature = "cuda")]
fn n_gpus() -> usize {
    let n_gpus = candle_core::cuda_backend::cudarc::driver::CudaContext::device_count();
    n_gpus.map_or(0, |n| n as usize)
}

#[cfg(not(feature = "cuda"))]
fn n_gpus() -> usize {
    0
}

impl FromStr for DeviceChoice {
    type Err = String;

    fn from_str(text: &str) -> std::result::Result<Self, String> {
        let cuda = |index: Option<usize>| match cfg!(feature = "cuda") {
            true => Ok(Self::Cuda(index)),
            false => Err("this build has no CUDA; build with `--features cuda` or use cpu".into()),
        };
        match text.split_once(':') {
            None if text == "auto" => Ok(Self::Auto),
            None if text == "cpu" => Ok(Self::Cpu),
            None if text == "cuda" => cuda(None),
            Some(("cuda", index)) => match index.parse() {
                Ok(index) => cuda(Some(index)),
                Err(_) => Err(format!("`{index}` is not a valid GPU index: expected cuda:N")),
            },
            _ => Err("expected auto, cpu, cuda or cuda:N".into()),
        }
    }
}

impl fmt::Display for DeviceChoice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Auto => write!(f, "auto"),
            Self::Cpu => write!(f, "cpu"),
            Self::Cuda(None) => write!(f, "cuda"),
            Self::Cuda(Some(index)) => write!(f, "cuda:{index}"),
        }
    }
}

impl Serialize for DeviceChoice {
    fn serialize<S: Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}
