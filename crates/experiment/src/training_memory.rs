//! Memory check before training, before anything is allocated: the system kills a program that runs
//! out of memory without a message.

use anyhow::{Result, ensure};
use candle_core::Device;
use tensor_core::MomentFormat;

use crate::machine::available_bytes;

/// Bytes per parameter: weight and gradient, four bytes each, and AdamW's two moments, of four or
/// one byte each. Activations are not included.
fn bytes_per_parameter(moments: MomentFormat) -> f64 {
    match moments {
        MomentFormat::Full => 16.,
        MomentFormat::Blockwise8Bit => 10.,
    }
}

/// Checks that training `parameters` parameters on `device` with moments of this format fits in the
/// free memory, activations not included. Checks only the CPU, as a GPU reports the error itself,
/// and only Linux.
///
/// # Errors
/// When it does not fit: the message has the needed memory and the flags to lower.
pub fn ensure_fits_in_memory(
    parameters: f64,
    moments: MomentFormat,
    device: &Device,
) -> Result<()> {
    match available_bytes().filter(|_| device.is_cpu()) {
        Some(free) => ensure_fits_in(parameters, moments, free as f64),
        None => Ok(()),
    }
}

/// Checks that training `parameters` parameters fits in `free` bytes.
///
/// # Errors
/// When it does not fit.
pub fn ensure_fits_in(parameters: f64, moments: MomentFormat, free: f64) -> Result<()> {
    let bytes = bytes_per_parameter(moments);
    let needed = bytes * parameters;
    let (millions, [need_gb, free_gb]) =
        (parameters / 1e6, [needed, free].map(|bytes| bytes / 1e9));
    ensure!(
        needed <= free,
        "training {millions:.1} million parameters takes at least {need_gb:.1} GB of memory \
         ({bytes} bytes each: weight, gradient and AdamW's two moments), and {free_gb:.1} GB are \
         free: lower --n-embd or --n-layer"
    );
    Ok(())
}
