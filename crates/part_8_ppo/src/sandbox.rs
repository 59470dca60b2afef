//! 8.5 Sandbox: generated Python runs with its tests in a process that can compute, and else next
//! to nothing. All of it is the kernel's, and needs neither root nor a container:
//!
//! ```text
//! files        Landlock: reads the interpreter's, writes in a folder of its own, which is deleted
//! calls        seccomp: no new process or thread, no other program, no socket, no signal
//! resources    limits of CPU time, address space, size of a file and open files
//! supervision  the wall time, and the size of the folder
//! ```
//!
//! The interpreter gives up its rights before it reads the program, tries what must fail, and says
//! so; without that word the run ends with an error, so nothing runs unprotected.
//!
//! A program shares its process with its tests, as in all such harnesses: one that looks for the
//! harness in the interpreter's memory can claim to have passed.

mod syscalls;

use std::collections::hash_map::RandomState;
use std::fs::read_dir;
use std::hash::{BuildHasher, Hasher};
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, sync_channel};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use landlock::{
    ABI, Access, AccessFs, CompatLevel, Compatible, Ruleset, RulesetAttr, RulesetCreatedAttr,
    path_beneath_rules,
};
use serde_json::json;

const HARNESS: &str = include_str!("sandbox/harness.py");
/// Prints where the interpreter and its libraries are.
const LOCATE: &str = "import json, sys; print(json.dumps([sys.executable, sys.prefix, \
                      sys.exec_prefix, sys.base_prefix, sys.base_exec_prefix]))";
/// Version of Landlock from which files cannot be cut short outside the folder (Linux 6.2).
const LANDLOCK: ABI = ABI::V3;
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

/// Limits of a program.
#[derive(Debug, Clone, Copy)]
pub struct SandboxLimits {
    /// Wall time and CPU time of the program and its tests.
    pub time: Duration,
    /// Address space of the interpreter, in megabytes.
    pub memory_mb: u64,
}

/// Python interpreter behind the protections of the kernel.
#[derive(Debug)]
pub struct Sandbox {
    /// The interpreter, and the folders that it may read.
    python: PathBuf,
    readable: Vec<PathBuf>,
    limits: SandboxLimits,
    /// Filter of system calls, in hexadecimal.
    seccomp: String,
}

/// Result of a program and its tests.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct TestReport {
    /// Number of passed tests.
    pub n_passed: usize,
    /// Why the program failed, or its first test that did.
    pub failure: Option<String>,
}

impl Sandbox {
    /// Sandbox of the interpreter `python`, a path or the name of a program.
    ///
    /// # Errors
    /// When the interpreter does not start, or a protection is missing on this machine.
    pub fn open(python: &str, limits: SandboxLimits) -> Result<Self> {
        let output = Command::new(python).args(["-c", LOCATE]).stdin(Stdio::null()).output();
        let output = output.with_context(|| format!("cannot start {python} (--code-python)"))?;
        let paths: Vec<PathBuf> =
            serde_json::from_slice(&output.stdout).ok().with_context(|| {
                let error = String::from_utf8_lossy(&output.stderr).into_owned();
                let last_line = error.lines().last().unwrap_or("no output");
                format!("{python} (--code-python) is not a Python interpreter: {last_line}")
            })?;
        let system = ["/usr", "/lib", "/lib64", "/etc/ld.so.cache", "/etc/localtime"];
        let system = system.into_iter().chain(["/dev/urandom"]).map(PathBuf::from);
        let bytes = syscalls::filter()?.into_iter().flat_map(|instruction| {
            let [code, k] = [u32::from(instruction.code), instruction.k];
            let code = (code as u16).to_ne_bytes();
            [&code[..], &[instruction.jt, instruction.jf], &k.to_ne_bytes()].concat()
        });
        let sandbox = Self {
            python: paths.first().context("sys.executable is missing")?.clone(),
            readable: paths.into_iter().chain(system).collect(),
            limits,
            seccomp: bytes.map(|byte| format!("{byte:02x}")).collect(),
        };
        let probe = sandbox.run("import math, re, collections", &["assert math.pi > 3".into()])?;
        let passed = TestReport { n_passed: 1, failure: None };
        ensure!(probe == passed, "a program that must pass fails in the sandbox: {probe:?}");
        Ok(sandbox)
    }

    /// Runs `program` and then each of its `tests`, in one process.
    ///
    /// # Errors
    /// When the process cannot be started or protected.
    pub fn run(&self, program: &str, tests: &[String]) -> Result<TestReport> {
        let folder = tempfile::tempdir()?;
        // Landlock restricts a thread, and the processes that it starts, for good.
        std::thread::scope(|scope| {
            let run = scope.spawn(|| {
                let error = "code cannot run safely here: Landlock is missing (Linux 6.2 or later)";
                self.restrict_thread(folder.path()).context(error)?;
                let mut child = self.start(folder.path())?;
                let report = self.supervise(&mut child, folder.path(), program, tests);
                let _ = child.kill();
                let status = child.wait()?;
                report.map(|mut report| {
                    report.failure = report.failure.or_else(|| {
                        (report.n_passed < tests.len()).then(|| match status.signal() {
                            Some(libc::SIGXCPU) => self.out_of_time("CPU time"),
                            _ => format!("ended early: {status}"),
                        })
                    });
                    report
                })
            });
            run.join().unwrap_or_else(|_| bail!("the thread of the sandbox panicked"))
        })
    }

    /// Leaves this thread the interpreter's files and `folder`.
    fn restrict_thread(&self, folder: &Path) -> Result<()> {
        let read = AccessFs::from_read(LANDLOCK);
        let write = AccessFs::from_file(LANDLOCK)
            | AccessFs::ReadDir
            | AccessFs::MakeReg
            | AccessFs::RemoveFile;
        let null = AccessFs::ReadFile | AccessFs::WriteFile;
        Ruleset::default()
            .set_compatibility(CompatLevel::HardRequirement)
            .handle_access(AccessFs::from_all(LANDLOCK))?
            .create()?
            .add_rules(path_beneath_rules(&self.readable, read))?
            .add_rules(path_beneath_rules(["/dev/null"], null))?
            .add_rules(path_beneath_rules([folder], write))?
            .restrict_self()?;
        Ok(())
    }

    /// Starts the interpreter in `folder`, without the environment of this process.
    fn start(&self, folder: &Path) -> Result<Child> {
        let mut command = Command::new(&self.python);
        command.args(["-s", "-B", "-c", HARNESS]).current_dir(folder).env_clear();
        command.env("PYTHONHASHSEED", "0").env("PYTHONUTF8", "1"); // sets in the same order
        command.env("HOME", folder).env("TMPDIR", folder);
        command.env("OMP_NUM_THREADS", "1").env("OPENBLAS_NUM_THREADS", "1");
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let child = command.spawn();
        child.with_context(|| format!("cannot start {} in the sandbox", self.python.display()))
    }

    /// Sends the program to `child`, and reads its report until it ends or exceeds a limit.
    fn supervise(
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

    fn out_of_time(&self, clock: &str) -> String {
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
