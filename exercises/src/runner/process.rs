//! A process with limits of time, memory and output, for code that loops, allocates or prints
//! without end.

use std::io::Read;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

/// Longest time, printed bytes and shown bytes of a process, and its memory in KiB.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Time.
    pub time: Duration,
    /// Address space in KiB; only Linux enforces it.
    pub memory_kib: u64,
    /// Printed bytes.
    pub printed: usize,
}

impl Limits {
    /// Limits of the learner's code: 10 seconds, 4 GiB, 1 MB.
    pub const LEARNER: Self =
        Self { time: Duration::from_secs(10), memory_kib: 4 << 20, printed: 1_000_000 };
}

/// End of a process: the fault, and the beginning of what it printed.
#[derive(Debug)]
pub struct Ended {
    /// Reason, if it did not end well.
    pub fault: Option<String>,
    /// Text of standard output, then of standard error.
    pub printed: String,
}

/// Bytes of each stream that are kept.
const KEPT: usize = 4096;

/// Runs `program` with `argument` until it ends or exceeds `limits`.
///
/// # Errors
/// When it cannot be started.
pub fn run(program: &Path, argument: &Path, limits: Limits) -> Result<Ended> {
    let mut child = command(program, limits)
        .arg(argument)
        .env("RAYON_NUM_THREADS", "1") // the same numbers everywhere, and little address space
        .env("RUST_BACKTRACE", "0")
        .env("RUST_LIB_BACKTRACE", "1") // an error of candle has the learner's line in it
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .with_context(|| format!("starting {}", program.display()))?;
    let printed = Arc::new(AtomicUsize::new(0));
    let readers = [
        child.stdout.take().map(|stream| beginning(stream, printed.clone())),
        child.stderr.take().map(|stream| beginning(stream, printed.clone())),
    ];
    let start = Instant::now();
    let fault = loop {
        if let Some(status) = child.try_wait().context("waiting for the process")? {
            break (!status.success()).then(|| format!("it ended with {status}"));
        }
        let late = start.elapsed() > limits.time;
        if late || printed.load(Ordering::Relaxed) > limits.printed {
            child.kill().context("ending the process")?;
            child.wait().context("waiting for the process")?;
            break Some(match late {
                true => format!("stopped after {} s: is there a loop?", limits.time.as_secs()),
                false => format!("stopped after it had printed {} bytes", limits.printed),
            });
        }
        thread::sleep(Duration::from_millis(5));
    };
    let printed = readers.into_iter().flatten().map(|reader| reader.join().unwrap_or_default());
    Ok(Ended { fault, printed: printed.collect() })
}

/// Command that runs `program` with a limit of memory, where the system has a shell for it.
fn command(program: &Path, limits: Limits) -> Command {
    if cfg!(target_os = "linux") {
        let mut command = Command::new("sh");
        let limited = format!("ulimit -v {} && exec \"$0\" \"$1\"", limits.memory_kib);
        command.args(["-c", &limited]).arg(program);
        return command;
    }
    Command::new(program)
}

/// Thread that reads `stream` to its end, counts its bytes and keeps the first.
fn beginning(
    mut stream: impl Read + Send + 'static,
    printed: Arc<AtomicUsize>,
) -> thread::JoinHandle<String> {
    thread::spawn(move || {
        let (mut kept, mut buffer) = (Vec::new(), [0; 8192]);
        while let Ok(n @ 1..) = stream.read(&mut buffer) {
            printed.fetch_add(n, Ordering::Relaxed);
            let room = KEPT - kept.len();
            kept.extend_from_slice(&buffer[..n.min(room)]);
        }
        String::from_utf8_lossy(&kept).into_owned()
    })
}
