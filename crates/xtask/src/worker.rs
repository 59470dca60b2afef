//! A process that answers each line with a line, both of them JSON: either side of the comparison.

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use anyhow::{Context, Result, bail, ensure};
use serde_json::{Value, json};

/// The process.
pub(crate) struct Worker {
    child: Child,
    requests: Option<ChildStdin>,
    answers: BufReader<ChildStdout>,
}

impl Worker {
    /// Starts it and waits until it says that it is ready.
    pub(crate) fn start(mut command: Command) -> Result<Self> {
        let shown = format!("{command:?}");
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .with_context(|| format!("starting {shown}"))?;
        let (requests, answers) = (child.stdin.take(), child.stdout.take());
        let answers = BufReader::new(answers.context("its output is piped")?);
        let mut worker = Self { child, requests, answers };
        let ready = worker.answer().with_context(|| format!("starting {shown}"))?;
        ensure!(ready["ready"] == json!(true), "{shown} began with {ready}");
        Ok(worker)
    }

    pub(crate) fn ask(&mut self, request: &Value) -> Result<Value> {
        let requests = self.requests.as_mut().context("its input is piped")?;
        writeln!(requests, "{request}")?;
        let answer = self.answer()?;
        if let Some(error) = answer.get("error") {
            bail!("{request}: {error}");
        }
        Ok(answer)
    }

    fn answer(&mut self) -> Result<Value> {
        let mut line = String::new();
        ensure!(self.answers.read_line(&mut line)? > 0, "it ended without an answer");
        serde_json::from_str(&line).with_context(|| format!("its answer {line:?}"))
    }
}

impl Drop for Worker {
    /// Closes its input, which ends it, and waits for that.
    fn drop(&mut self) {
        self.requests = None;
        let _ = self.child.wait();
    }
}
