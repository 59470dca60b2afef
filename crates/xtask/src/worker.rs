//! A worker process of the comparison: reads requests and writes responses, one line of JSON each.

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use anyhow::{Context, Result, bail, ensure};
use serde_json::{Value, json};

/// A running worker process.
pub(crate) struct Worker {
    child: Child,
    requests: Option<ChildStdin>,
    responses: BufReader<ChildStdout>,
}

impl Worker {
    /// Starts the process and waits for its ready message.
    pub(crate) fn start(mut command: Command) -> Result<Self> {
        let command_line = format!("{command:?}");
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .with_context(|| format!("starting {command_line}"))?;
        let (requests, responses) = (child.stdin.take(), child.stdout.take());
        let responses = BufReader::new(responses.context("stdout is not piped")?);
        let mut worker = Self { child, requests, responses };
        let ready = worker.read_response().with_context(|| format!("starting {command_line}"))?;
        ensure!(
            ready["ready"] == json!(true),
            "{command_line} sent {ready} instead of a ready message"
        );
        Ok(worker)
    }

    /// Sends a request and waits for the response.
    pub(crate) fn request(&mut self, request: &Value) -> Result<Value> {
        let requests = self.requests.as_mut().context("stdin is not piped")?;
        writeln!(requests, "{request}")?;
        let response = self.read_response()?;
        if let Some(error) = response.get("error") {
            bail!("{request}: {error}");
        }
        Ok(response)
    }

    fn read_response(&mut self) -> Result<Value> {
        let mut line = String::new();
        ensure!(self.responses.read_line(&mut line)? > 0, "the process ended without a response");
        serde_json::from_str(&line).with_context(|| format!("the response is not JSON: {line:?}"))
    }
}

impl Drop for Worker {
    /// Closes the input, which ends the process, and waits for its exit.
    fn drop(&mut self) {
        self.requests = None;
        let _ = self.child.wait();
    }
}
