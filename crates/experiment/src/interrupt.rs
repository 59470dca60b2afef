//! SIGINT, SIGTERM or SIGHUP: the first one requests a clean stop after the current step, the
//! second one exits at once.
//!
//! A closed terminal sends several SIGHUP (the kernel one, the shell another), so those after the
//! first have no effect. A process that was started by `nohup` still ignores them. Output that
//! cannot be written requests a stop, too.
//!
//! The request is process-wide, so a program that runs several commands can listen too and stop
//! after the current command.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use anyhow::Result;
#[cfg(unix)]
use signal_hook::consts::SIGHUP;
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::flag;

/// True if the next signal exits at once: without a listener, or after a first signal.
static EXIT_ON_SIGNAL: AtomicBool = AtomicBool::new(true);
/// True if SIGHUP exits at once: without a listener, until there was one.
static EXIT_ON_HANGUP: AtomicBool = AtomicBool::new(true);
/// True after SIGHUP: the terminal is closed.
static IS_HUNG_UP: AtomicBool = AtomicBool::new(false);
/// True once output of a run could not be written: this run and later ones stop.
static OUTPUT_IS_LOST: AtomicBool = AtomicBool::new(false);
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
            EXIT_ON_HANGUP.store(false, Ordering::SeqCst);
        }
        *listeners = Some(others + 1);
        Ok(Self { is_listening: true })
    }

    /// Returns whether a stop was requested.
    pub fn is_requested(&self) -> bool {
        let is_requested =
            || [&EXIT_ON_SIGNAL, &OUTPUT_IS_LOST].iter().any(|flag| flag.load(Ordering::Relaxed));
        self.is_listening && is_requested()
    }
}

impl Drop for Interrupt {
    fn drop(&mut self) {
        let mut listeners = listener_count();
        if let (true, Some(n)) = (self.is_listening, listeners.as_mut()) {
            *n -= 1;
            if *n == 0 {
                EXIT_ON_SIGNAL.store(true, Ordering::SeqCst);
                EXIT_ON_HANGUP.store(!IS_HUNG_UP.load(Ordering::SeqCst), Ordering::SeqCst);
                RUN_IS_UNFINISHED.store(false, Ordering::SeqCst);
            }
        }
    }
}

/// Installs the signal handlers, once per process: the default actions cannot be restored.
fn register_signals() -> Result<()> {
    for signal in [SIGINT, SIGTERM] {
        flag::register_conditional_shutdown(signal, 1, &EXIT_ON_SIGNAL)?;
        flag::register(signal, &EXIT_ON_SIGNAL)?;
    }
    #[cfg(unix)]
    if !ignores_hangup() {
        flag::register_conditional_shutdown(SIGHUP, 1, &EXIT_ON_HANGUP)?;
        flag::register(SIGHUP, &EXIT_ON_SIGNAL)?;
        flag::register(SIGHUP, &IS_HUNG_UP)?;
    }
    Ok(())
}

/// Returns whether the process was started with SIGHUP ignored, as `nohup` does. Known on Linux
/// only.
#[cfg(unix)]
fn ignores_hangup() -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    let mask = mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok());
    mask.is_some_and(|mask| mask & (1 << (SIGHUP - 1)) != 0)
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

/// Phase of a run that a stop would interrupt.
pub(crate) enum RunPhase {
    /// No run.
    None,
    /// A run that has not started, so that there is nothing to save.
    Preparing,
    /// A run, or another command that stops on request.
    Running {
        /// True after a first signal.
        signalled: bool,
    },
}

/// Phase of the run in this process.
pub(crate) fn run_phase() -> RunPhase {
    if listener_count().is_some_and(|listeners| listeners > 0) {
        RunPhase::Running { signalled: EXIT_ON_SIGNAL.load(Ordering::SeqCst) }
    } else if RUN_IS_UNFINISHED.load(Ordering::SeqCst) {
        RunPhase::Preparing
    } else {
        RunPhase::None
    }
}

/// Requests a stop of this run and of all later ones in this process: their output is lost.
pub(crate) fn stop_runs() {
    OUTPUT_IS_LOST.store(true, Ordering::SeqCst);
}

fn listener_count() -> MutexGuard<'static, Option<usize>> {
    LISTENERS.lock().unwrap_or_else(PoisonError::into_inner)
}
