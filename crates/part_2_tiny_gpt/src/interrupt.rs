//! Ctrl-C, or the system's wish that we end: once, and the work ends at its next good place; twice, and it ends at once.
//!
//! A process is wished to end as a whole, so all who wait for the wish share it: a program that runs commands one after the other
//! may wait itself, and see that the command in progress was not the only one to be ended.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use anyhow::Result;
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::flag;

#[cfg(unix)]
const SIGNALS: &[i32] = &[SIGINT, SIGTERM, signal_hook::consts::SIGHUP];
#[cfg(not(unix))]
const SIGNALS: &[i32] = &[SIGINT, SIGTERM];

/// Whether the next signal ends the program at once: unless somebody waits, and there was none yet.
static EXIT_ON_SIGNAL: AtomicBool = AtomicBool::new(true);
/// Number of listeners; `None` before the first.
static LISTENERS: Mutex<Option<usize>> = Mutex::new(None);

/// Whether the program was asked to end; by default, it never is.
#[derive(Debug, Default)]
pub struct Interrupt {
    is_listening: bool,
}

impl Interrupt {
    /// Until this is dropped, the first SIGINT, SIGTERM or SIGHUP is a wish; the second one ends the program. For good, a file that
    /// grows past the system's limit is an error of whoever writes it, and no longer the program's silent end.
    ///
    /// # Errors
    /// When the signals cannot be caught.
    pub fn listen() -> Result<Self> {
        let mut waiting = listener_count();
        if waiting.is_none() {
            register_signals()?;
        }
        let others = waiting.unwrap_or(0);
        if others == 0 {
            EXIT_ON_SIGNAL.store(false, Ordering::SeqCst);
        }
        *waiting = Some(others + 1);
        Ok(Self { is_listening: true })
    }

    /// Whether there was a signal.
    pub fn is_requested(&self) -> bool {
        self.is_listening && EXIT_ON_SIGNAL.load(Ordering::Relaxed)
    }
}

impl Drop for Interrupt {
    fn drop(&mut self) {
        let mut waiting = listener_count();
        if let (true, Some(n)) = (self.is_listening, waiting.as_mut()) {
            *n -= 1;
            if *n == 0 {
                EXIT_ON_SIGNAL.store(true, Ordering::SeqCst);
            }
        }
    }
}

/// Once in a process: what is registered stays, as the system's own way to end a program does not come back.
fn register_signals() -> Result<()> {
    #[cfg(unix)]
    flag::register(signal_hook::consts::SIGXFSZ, Arc::default())?;
    for &signal in SIGNALS {
        flag::register_conditional_shutdown(signal, 1, &EXIT_ON_SIGNAL)?;
        flag::register(signal, &EXIT_ON_SIGNAL)?;
    }
    Ok(())
}

/// Whether somebody waits for the wish: work in progress that would save itself.
pub(crate) fn has_listener() -> bool {
    listener_count().is_some_and(|waiting| waiting > 0)
}

fn listener_count() -> MutexGuard<'static, Option<usize>> {
    LISTENERS.lock().unwrap_or_else(PoisonError::into_inner)
}
