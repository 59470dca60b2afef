//! Sandbox of systems other than Linux: none, so nothing is run.

use std::time::Duration;

use anyhow::{Result, bail};

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
pub struct Sandbox;

/// Result of a program and its tests.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct TestReport {
    /// Number of passed tests.
    pub n_passed: usize,
    /// Why the program failed, or its first test that did.
    pub failure: Option<String>,
}

impl Sandbox {
    /// Fails.
    ///
    /// # Errors
    /// Always.
    pub fn open(_python: &str, _limits: SandboxLimits) -> Result<Self> {
        bail!("code cannot run safely here: the sandbox needs Linux")
    }

    /// Fails.
    ///
    /// # Errors
    /// Always.
    pub fn run(&self, _program: &str, _tests: &[String]) -> Result<TestReport> {
        bail!("code cannot run safely here: the sandbox needs Linux")
    }
}
