//! 4.5 What the machine could do, to compare a run with: the speed of its matrix product, and the memory in use.

use std::time::{Duration, Instant};

use anyhow::Result;
use candle_core::{DType, Device, Tensor};
use modern::ModelConfig;

/// Products of this size keep every core busy.
const MATRIX_SIZE: usize = 768;
/// How long to measure.
const MEASURE_TIME: Duration = Duration::from_millis(150);

/// Floating-point operations per second of a large matrix product: what no training step can exceed.
///
/// # Errors
/// When the device fails.
pub fn gemm_peak(dtype: DType, device: &Device) -> Result<f64> {
    let a = Tensor::ones((MATRIX_SIZE, MATRIX_SIZE), dtype, device)?;
    let (start, mut best) = (Instant::now(), f64::INFINITY);
    while start.elapsed() < MEASURE_TIME {
        let start = Instant::now();
        a.matmul(&a)?;
        device.synchronize()?;
        best = best.min(start.elapsed().as_secs_f64());
    }
    Ok(2. * (MATRIX_SIZE as f64).powi(3) / best)
}

/// Floating-point operations that a token of training takes: 6 for each parameter that multiplies, and attention's products
/// with all tokens before it, of which there are T/2 on average (Chowdhery et al., <https://arxiv.org/abs/2204.02311>,
/// appendix B).
pub fn flops_per_token(model: &ModelConfig, parameters: usize) -> f64 {
    let attention = model.n_layer * model.attention.n_head * model.attention.head_dim;
    6. * parameters as f64 + 12. * attention as f64 * model.context_len as f64 / 2.
}

/// Bytes of memory that the process holds, where the system tells (Linux).
pub fn resident_bytes() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kibibytes: u64 = line.trim().strip_suffix(" kB")?.parse().ok()?;
    Some(kibibytes * 1024)
}
