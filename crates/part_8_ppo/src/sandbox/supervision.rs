//! Supervision of a program in the sandbox: its wall time, the size of its folder, and its report.

use std::collections::hash_map::RandomState;
use std::fs::read_dir;
use std::hash::{BuildHasher, Hasher};
use std::io::{BufRead, BufReader, Read, Write};
use std::path::Path;
use std::process::Child;
use std::sync::mpsc::{Receiver, RecvTimeoutError, sync_channel};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use serde_json::json;

use super::{Sandbox, TestReport};

/// Time for the start of the interpreter, which is not the program's.
const START_TIMEOUT: Duration = Duration::from_secs(60);
/// Time between two looks at the wall time and the folder.
const POLL: Duration = Duration::from_millis(5);
/// Largest file of a program, in bytes.
const MAX_FILE: u64 = 1 << 20;
/// Largest content of its folder, in bytes.
const MAX_FOLDER: u64 = 16 << 20;
/// Largest number of files in it.
const MAX_FILES: usize = 1000;
/// Longest report of a run, in bytes.
const MAX_REPORT: u64 = 1 << 20;

impl Sandbox {
    /// Sends the program to `child`, and reads its report until it ends or exceeds a limit.
    pub(super) fn supervise(
        &self,
        child: &mut Child,
        folder: &Path,
        program: &str,
        tests: &[String],
    ) -> Result<TestReport> {
        let nonce = format!("{:016x}", RandomState::new().build_hasher().finish()); // random
        let seconds = self.limits.time.as_secs_f64().ceil() as u64;
        let job = json!({
            "nonce": nonce, "program": program, "tests": tests, "seccomp": self.seccomp,
            "limits": {
                "RLIMIT_CPU": seconds, "RLIMIT_AS": self.limits.memory_mb.min(1 << 30) << 20,
                "RLIMIT_FSIZE": MAX_FILE, "RLIMIT_NOFILE": 32, "RLIMIT_NPROC": 0, "RLIMIT_CORE": 0,
            },
        });
        if let Some(mut stdin) = child.stdin.take() {
            // A thread, because a pipe has room for a part of the job only, and no time limit. If
            // it fails, the report says why.
            thread::spawn(move || stdin.write_all(job.to_string().as_bytes()));
        }
        let lines = read_lines(child);
        let (mut deadline, mut is_locked) = (Instant::now() + START_TIMEOUT, false);
        let mut report = TestReport::default();
        loop {
            let line = match lines.recv_timeout(POLL) {
                Ok(line) => line,
                Err(RecvTimeoutError::Timeout) => String::new(),
                Err(RecvTimeoutError::Disconnected) => break,
            };
            if let Some(event) = line.strip_prefix(&nonce) {
                match event.trim().split_once(' ').unwrap_or((event.trim(), "")) {
                    ("locked", _) => {
                        is_locked = true;
                        deadline = Instant::now() + self.limits.time;
                    }
                    ("passed", _) => report.n_passed += 1,
                    ("failed", why) if report.failure.is_none() => {
                        report.failure = serde_json::from_str(why).ok();
                    }
                    _ => {}
                }
            }
            let exceeded = match folder_fits(folder) {
                _ if Instant::now() > deadline => Some(self.out_of_time("wall time")),
                false => Some("ended: its files exceed 16 MB, or 1000".into()),
                true => None,
            };
            if exceeded.is_some() {
                report.failure = report.failure.or(exceeded);
                break;
            }
        }
        ensure!(is_locked, "code cannot run safely here: {}", self.startup_error(child));
        Ok(report)
    }

    /// Why a program was ended that ran longer than it may by this `clock`.
    pub(super) fn out_of_time(&self, clock: &str) -> String {
        format!("ended after {} s of {clock} (--code-timeout)", self.limits.time.as_secs_f64())
    }

    /// Why the interpreter did not protect itself.
    fn startup_error(&self, child: &mut Child) -> String {
        let mut error = String::new();
        let _ = child.kill();
        if let Some(stderr) = &mut child.stderr {
            let _ = stderr.take(MAX_REPORT).read_to_string(&mut error);
        }
        let last_line = error.lines().last().unwrap_or("the interpreter did not start in time");
        format!("{}: {last_line}", self.python.display())
    }
}

/// Lines of the report of `child`, read by a thread, because reads of pipes have no time limit.
fn read_lines(child: &mut Child) -> Receiver<String> {
    let (sender, lines) = sync_channel(16);
    if let Some(stdout) = child.stdout.take() {
        let reader = BufReader::new(stdout.take(MAX_REPORT));
        std::thread::spawn(move || {
            reader.lines().map_while(Result::ok).try_for_each(|line| sender.send(line))
        });
    }
    lines
}

/// Whether the files in `folder`, which has no subfolders, are within the limits.
fn folder_fits(folder: &Path) -> bool {
    let Ok(files) = read_dir(folder) else { return true };
    let sizes = files.take(MAX_FILES + 1).map(|file| file.and_then(|file| file.metadata()));
    let sizes: Vec<u64> = sizes.map(|size| size.map_or(0, |metadata| metadata.len())).collect();
    sizes.len() <= MAX_FILES && sizes.iter().sum::<u64>() <= MAX_FOLDER
}
