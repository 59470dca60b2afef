//! Calls of code that comes with a model, such as a chat template: on a large stack, and with a
//! time limit.
//!
//! Minijinja's fuel bounds the instructions of a template and most of its memory, but neither the
//! nesting of a value (printing and dropping one is recursive) nor the text of a list that contains
//! another one many times.

use std::sync::mpsc::channel;
use std::thread::Builder;
use std::time::Duration;

use anyhow::{Context, Result, bail};

/// Stack of a call. The system provides only the pages that are used.
const STACK_BYTES: usize = 1 << 30;
/// Time limit of a call. The longest conversations take a second.
const TIME_LIMIT: Duration = Duration::from_secs(10);

/// Result of `call`, which runs on a thread of its own; errors call it `name`.
///
/// # Errors
/// Those of `call`; when it takes too long, and then it goes on until the program ends.
pub(crate) fn run<T: Send + 'static>(
    name: &str,
    call: impl FnOnce() -> Result<T> + Send + 'static,
) -> Result<T> {
    let (send, receive) = channel();
    let thread = Builder::new().stack_size(STACK_BYTES);
    thread.spawn(move || send.send(call())).context("starting a thread")?;
    match receive.recv_timeout(TIME_LIMIT) {
        Ok(result) => result,
        Err(_) => bail!("{name} did not end within {} s", TIME_LIMIT.as_secs()),
    }
}
