//! 4.5 Machine statistics: peak speed of a matrix product (for MFU) and memory in use.

use std::time::{Duration, Instant};

use anyhow::Result;
use candle_core::{DType, Device, Tensor};
use cpu_time::ProcessTime;
pub use tensor_core::memory::{available_bytes, peak_resident_bytes, resident_bytes};
use tensor_core::ops::linear::linear_bf16;

/// Side of the square matrices; a product of this size keeps every core busy.
const MATRIX_SIZE: usize = 768;
/// Duration of the measurement.
const MEASURE_TIME: Duration = Duration::from_millis(150);

/// Peak FLOP/s of a large matrix product, an upper bound for a training step.
///
/// # Errors
/// When the device fails.
pub fn gemm_peak(dtype: DType, device: &Device) -> Result<f64> {
    // On the CPU, bf16 is for the operands of products alone.
    let (stored, is_mixed) = match (dtype, device) {
        (DType::BF16, Device::Cpu) => (DType::F32, true),
        _ => (dtype, false),
    };
    let a = Tensor::ones((MATRIX_SIZE, MATRIX_SIZE), stored, device)?;
    let (start, mut best) = (Instant::now(), f64::INFINITY);
    while start.elapsed() < MEASURE_TIME {
        let start = Instant::now();
        if is_mixed {
            linear_bf16(&a, &a, None)?
        } else {
            a.matmul(&a)?
        };
        device.synchronize()?;
        best = best.min(start.elapsed().as_secs_f64());
    }
    Ok(2. * (MATRIX_SIZE as f64).powi(3) / best)
}

/// Memory in use on the current CUDA device in bytes, by all programs; `None` without one.
pub fn device_bytes() -> Option<u64> {
    #[cfg(feature = "cuda")]
    {
        let info = candle_core::cuda_backend::cudarc::driver::result::mem_get_info();
        return info.ok().map(|(free, total)| (total - free) as u64);
    }
    #[cfg(not(feature = "cuda"))]
    None
}

/// Processor time of this process so far, over all its threads, in seconds. Unlike the time on the
/// clock it does not grow while other programs have the cores.
pub fn processor_seconds() -> f64 {
    ProcessTime::now().as_duration().as_secs_f64()
}

/// Resident memory of the process in megabytes, where the system reports it.
pub fn memory_mb() -> Option<u64> {
    resident_bytes().map(|bytes| bytes / 1_000_000)
}

/// Name of the processor (from `/proc/cpuinfo`, else the architecture).
pub fn processor_name() -> String {
    let text = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let name = text.lines().find_map(|line| line.strip_prefix("model name")?.split_once(':'));
    name.map_or(std::env::consts::ARCH, |(_, name)| name.trim()).to_string()
}
