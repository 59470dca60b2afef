//! Memory check before training, before anything is allocated: the system kills a program that runs
//! out of memory without a message.

use anyhow::{Result, ensure};
use candle_core::Device;

use crate::flags::Optim;
use crate::machine::available_bytes;

/// Bytes per parameter, and what they hold: weight and gradient, four bytes each, and the state of
/// the optimizer. That is AdamW's two moments, of four or one byte each, or Muon's momentum, of
/// four; the parameters that Muon leaves to AdamW take more. Activations are not included.
fn bytes_per_parameter(optim: Optim) -> (f64, &'static str) {
    match optim {
        Optim::AdamW => (16., "AdamW's two moments"),
        Optim::AdamW8Bit => (10., "AdamW's two moments"),
        Optim::Muon => (12., "Muon's momentum"),
    }
}

/// Checks that training `parameters` parameters on `device` with this optimizer fits in the free
/// memory, activations not included. Checks only the CPU, as a GPU reports the error itself,
/// and only Linux.
///
/// # Errors
/// When it does not fit: the message has the needed memory and the flags to lower.
pub fn ensure_fits_in_memory(parameters: f64, optim: Optim, device: &Device) -> Result<()> {
    match available_bytes().filter(|_| device.is_cpu()) {
        Some(free) => ensure_fits_in(parameters, optim, free as f64),
        None => Ok(()),
    }
}

/// Checks that training `parameters` parameters fits in `free` bytes.
///
/// # Errors
/// When it does not fit.
pub fn ensure_fits_in(parameters: f64, optim: Optim, free: f64) -> Result<()> {
    let (bytes, state) = bytes_per_parameter(optim);
    let needed = bytes * parameters;
    let (millions, [need_gb, free_gb]) =
        (parameters / 1e6, [needed, free].map(|bytes| bytes / 1e9));
    ensure!(
        needed <= free,
        "training {millions:.1} million parameters takes at least {need_gb:.1} GB of memory \
         ({bytes} bytes each: weight, gradient and {state}), and {free_gb:.1} GB are \
         free: lower --n-embd or --n-layer"
    );
    Ok(())
}
