//! Memory check before training, before anything is allocated: the system kills a program that runs
//! out of memory without a message.

use anyhow::{Result, ensure};
use candle_core::Device;

use crate::machine::available_bytes;

/// Bytes per parameter: weight, gradient and AdamW's two moments, four bytes each. Activations are
/// not included.
const BYTES_PER_PARAMETER: f64 = 16.;

/// Checks that training `parameters` parameters on `device` fits in the free memory, activations
/// not included. Checks only the CPU, as a GPU reports the error itself, and only Linux.
///
/// # Errors
/// When it does not fit: the message has the needed memory and the flags to lower.
pub fn ensure_fits_in_memory(parameters: f64, device: &Device) -> Result<()> {
    match available_bytes().filter(|_| device.is_cpu()) {
        Some(free) => ensure_fits_in(parameters, free as f64),
        None => Ok(()),
    }
}

/// Checks that training `parameters` parameters fits in `free` bytes.
///
/// # Errors
/// When it does not fit.
pub fn ensure_fits_in(parameters: f64, free: f64) -> Result<()> {
    let needed = BYTES_PER_PARAMETER * parameters;
    let (millions, [need_gb, free_gb]) =
        (parameters / 1e6, [needed, free].map(|bytes| bytes / 1e9));
    ensure!(
        needed <= free,
        "training {millions:.1} million parameters takes at least {need_gb:.1} GB of memory \
         (16 bytes each: weight, gradient and AdamW's two moments), and {free_gb:.1} GB are free: \
         lower --n-embd or --n-layer"
    );
    Ok(())
}
