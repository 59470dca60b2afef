//! SIGINT, SIGTERM or SIGHUP: the first one requests a clean stop after the current step, the
//! second one exits at once.
//!
//! The request is process-wide, so a program that runs several commands can listen too and stop
//! after the current command.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use anyhow::Result;
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::flag;

#[cfg(unix)]
const SIGNALS: &[i32] = &[SIGINT, SIGTERM, signal_hook::consts::SIGHUP];
#[cfg(not(unix))]
const SIGNALS: &[i32] = &[SIGINT, SIGTERM];

/// True if the next signal exits at once: without a listener, or after a first signal.
static EXIT_ON_SIGNAL: AtomicBool = AtomicBool::new(true);
/// Number of listeners; `None` before the first one, which installs the signal handlers.
static LISTENERS: Mutex<Option<usize>> = Mutex::new(None);

/// Listener for the process-wide stop request. The default one never reports a request.
#[derive(Debug, Default)]
pub struct Interrupt {
    is_listening: bool,
}

impl Interrupt {
    /// Starts listening. Until this is dropped, the first SIGINT, SIGTERM or SIGHUP requests a stop
    /// and the second one exits the program. From the first call on, SIGXFSZ no longer kills the
    /// process: a file that exceeds the system's size limit is a write error.
    ///
    /// # Errors
    /// When the signal handlers cannot be installed.
    pub fn listen() -> Result<Self> {
        let mut listeners = listener_count();
        if listeners.is_none() {
            register_signals()?;
        }
        let others = listeners.unwrap_or(0);
        if others == 0 {
            EXIT_ON_SIGNAL.store(false, Ordering::SeqCst);
        }
        *listeners = Some(others + 1);
        Ok(Self { is_listening: true })
    }

    /// Returns whether a stop was requested.
    pub fn is_requested(&self) -> bool {
        self.is_listening && EXIT_ON_SIGNAL.load(Ordering::Relaxed)
    }
}

impl Drop for Interrupt {
    fn drop(&mut self) {
        let mut listeners = listener_count();
        if let (true, Some(n)) = (self.is_listening, listeners.as_mut()) {
            *n -= 1;
            if *n == 0 {
                EXIT_ON_SIGNAL.store(true, Ordering::SeqCst);
            }
        }
    }
}

/// Installs the signal handlers, once per process: the default actions cannot be restored.
fn register_signals() -> Result<()> {
    #[cfg(unix)]
    flag::register(signal_hook::consts::SIGXFSZ, Arc::default())?;
    for &signal in SIGNALS {
        flag::register_conditional_shutdown(signal, 1, &EXIT_ON_SIGNAL)?;
        flag::register(signal, &EXIT_ON_SIGNAL)?;
    }
    Ok(())
}

/// Returns whether a run that saves its state on a stop request is in progress.
pub(crate) fn has_listener() -> bool {
    listener_count().is_some_and(|listeners| listeners > 0)
}

fn listener_count() -> MutexGuard<'static, Option<usize>> {
    LISTENERS.lock().unwrap_or_else(PoisonError::into_inner)
}
