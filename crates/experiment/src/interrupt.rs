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
/// True from the first arguments of a run on, until its listener is dropped.
static RUN_IS_UNFINISHED: AtomicBool = AtomicBool::new(false);

/// Listener for the process-wide stop request. The default one never reports a request.
#[derive(Debug, Default)]
pub struct Interrupt {
    is_listening: bool,
}

impl Interrupt {
    /// Starts listening. Until this is dropped, the first SIGINT, SIGTERM or SIGHUP requests a stop
    /// and the second one exits the program.
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
                RUN_IS_UNFINISHED.store(false, Ordering::SeqCst);
            }
        }
    }
}

/// Installs the signal handlers, once per process: the default actions cannot be restored.
fn register_signals() -> Result<()> {
    for &signal in SIGNALS {
        flag::register_conditional_shutdown(signal, 1, &EXIT_ON_SIGNAL)?;
        flag::register(signal, &EXIT_ON_SIGNAL)?;
    }
    Ok(())
}

/// Makes a file that exceeds the system's size limit a write error: SIGXFSZ would kill the process.
pub(crate) fn survive_file_size_limit() {
    #[cfg(unix)]
    let _ = flag::register(signal_hook::consts::SIGXFSZ, Arc::default()); // the signal exists
}

/// Announces a run, which has not saved a model until its listener is dropped.
pub(crate) fn announce_run() {
    RUN_IS_UNFINISHED.store(true, Ordering::SeqCst);
}

/// Returns whether a run is in preparation or in progress.
pub(crate) fn is_run_unfinished() -> bool {
    let is_listening = listener_count().is_some_and(|listeners| listeners > 0);
    is_listening || RUN_IS_UNFINISHED.load(Ordering::SeqCst)
}

fn listener_count() -> MutexGuard<'static, Option<usize>> {
    LISTENERS.lock().unwrap_or_else(PoisonError::into_inner)
}
