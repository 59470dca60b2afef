//! The device that tensors live on: the CPU, or a CUDA GPU if the build has CUDA.

use std::fmt;
use std::str::FromStr;

use candle_core::{Device, Result};
use serde::{Serialize, Serializer};

/// Value of `--device`: `auto`, `cpu`, `cuda` or `cuda:N`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum DeviceChoice {
    /// First CUDA GPU if the build has CUDA and a GPU is available, else the CPU.
    #[default]
    Auto,
    /// CPU.
    Cpu,
    /// CUDA GPU with this index.
    Cuda(usize),
}

impl DeviceChoice {
    /// Opens the device.
    ///
    /// # Errors
    /// When a CUDA GPU was requested explicitly and is not available.
    pub fn open(self) -> Result<Device> {
        match self {
            Self::Auto if cfg!(feature = "cuda") => Device::cuda_if_available(0),
            Self::Auto | Self::Cpu => Ok(Device::Cpu),
            Self::Cuda(index) => Device::new_cuda(index),
        }
    }
}

impl FromStr for DeviceChoice {
    type Err = String;

    fn from_str(text: &str) -> std::result::Result<Self, String> {
        let cuda = |index: usize| match cfg!(feature = "cuda") {
            true => Ok(Self::Cuda(index)),
            false => Err("this build has no CUDA; build with `--features cuda` or use cpu".into()),
        };
        match text.split_once(':') {
            None if text == "auto" => Ok(Self::Auto),
            None if text == "cpu" => Ok(Self::Cpu),
            None if text == "cuda" => cuda(0),
            Some(("cuda", index)) => match index.parse() {
                Ok(index) => cuda(index),
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
            Self::Cuda(index) => write!(f, "cuda:{index}"),
        }
    }
}

impl Serialize for DeviceChoice {
    fn serialize<S: Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}
