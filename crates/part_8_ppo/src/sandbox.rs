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

mod supervision;
mod syscalls;

use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use landlock::{
    ABI, Access, AccessFs, CompatLevel, Compatible, Ruleset, RulesetAttr, RulesetCreatedAttr,
    path_beneath_rules,
};

const HARNESS: &str = include_str!("sandbox/harness.py");
/// Prints where the interpreter and its libraries are.
const LOCATE: &str = "import json, sys; print(json.dumps([sys.executable, sys.prefix, \
                      sys.exec_prefix, sys.base_prefix, sys.base_exec_prefix]))";
/// Version of Landlock from which files cannot be cut short outside the folder (Linux 6.2).
const LANDLOCK: ABI = ABI::V3;

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
}
