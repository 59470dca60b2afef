//! Ctrl-C, or the system's wish that we end: once, and the work ends at its next good place; twice, and it ends at once.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::Result;
use signal_hook::consts::{SIGINT, SIGTERM};

#[cfg(unix)]
const WISHES: &[i32] = &[SIGINT, SIGTERM, signal_hook::consts::SIGHUP];
#[cfg(not(unix))]
const WISHES: &[i32] = &[SIGINT, SIGTERM];

/// Whether the program was asked to end.
#[derive(Debug, Clone, Default)]
pub struct Interrupt(Arc<AtomicBool>);

impl Interrupt {
    /// From now on, SIGINT, SIGTERM and SIGHUP are wishes; the second one ends the program. A file that grows past the
    /// system's limit is an error of whoever writes it, and no longer the program's silent end.
    ///
    /// # Errors
    /// When the signals cannot be caught.
    pub fn catch(&self) -> Result<()> {
        #[cfg(unix)]
        signal_hook::flag::register(signal_hook::consts::SIGXFSZ, Arc::default())?;
        for &signal in WISHES {
            signal_hook::flag::register_conditional_shutdown(signal, 1, Arc::clone(&self.0))?;
            signal_hook::flag::register(signal, Arc::clone(&self.0))?;
        }
        Ok(())
    }

    /// Whether there was a signal.
    pub fn requested(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}
