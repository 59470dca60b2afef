//! Reward program: a reward function in any language. It reads a batch as a line of JSON from its
//! standard input and answers with a line of rewards.
//!
//! ```text
//! stdin    {"prompts": [[{"role": "user", "content": "What is 1 + 2?"}]],
//!           "completions": [[{"role": "assistant", "content": "3"}]],
//!           "answers": ["3"], "terminated": [true]}                               (on one line)
//! stdout   [1.0]
//! ```
//!
//! Prompts and completions are conversations, as in a reward function of TRL, so in Python
//! `reward(**json.loads(line))` calls one that also takes `answers` and `terminated`, or any
//! `**kwargs`. It returns a number for each completion. Whatever the program prints for people goes
//! to its standard error.

use std::io::{BufRead, BufReader, Read, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail, ensure};
use ranks::outside_of_ranks;
use serde_json::{Value, json};
use tensor_core::{Rng, sha256};

use crate::reward_fn::{NamedRewardFn, RewardInput};

/// Longest line of rewards, in bytes.
const MAX_REPLY: u64 = 64 << 20;

/// Running reward program. Dropping it ends the program.
struct RewardProgram {
    command: String,
    child: Child,
    /// Requests to the thread that talks to the program, and its replies.
    requests: SyncSender<String>,
    replies: Receiver<std::io::Result<String>>,
    timeout: Duration,
}

/// Reward function of the program that `command` starts, written as in a shell but without one:
/// `python3 reward.py`. The program has `timeout` for each batch.
///
/// # Errors
/// When the program cannot be started. The reward function fails when the program ends, exceeds the
/// time limit, or answers anything but one number per completion.
pub fn reward_program_fn(command: &str, timeout: Duration) -> Result<NamedRewardFn> {
    let mut program = RewardProgram::start(command, timeout)?;
    let name = format!("program {command}{}", sha256_of_files(command));
    let reward_fn =
        Box::new(move |inputs: &[RewardInput<'_>], _: &mut Rng| program.rewards(inputs));
    Ok(NamedRewardFn::new(reward_fn, name))
}

/// SHA-256 of each word of `command` that is a file, as a resumed run needs the same program.
fn sha256_of_files(command: &str) -> String {
    let words = shlex::split(command).unwrap_or_default();
    let files = words.iter().filter_map(|word| std::fs::read(word).ok());
    files.map(|bytes| format!(" {}", sha256::hash_bytes(&bytes))).collect()
}

impl RewardProgram {
    fn start(command: &str, timeout: Duration) -> Result<Self> {
        let words = shlex::split(command).filter(|words| !words.is_empty());
        let words = words.with_context(|| format!("the reward program `{command}` has no name"))?;
        let mut process = Command::new(&words[0]);
        outside_of_ranks(&mut process);
        process.args(&words[1..]).stdin(Stdio::piped()).stdout(Stdio::piped());
        #[cfg(unix)] // Ctrl-C ends the run after its step, which needs the program
        std::os::unix::process::CommandExt::process_group(&mut process, 0);
        let child = process.spawn();
        let mut child =
            child.with_context(|| format!("cannot start the reward program `{command}`"))?;
        let (Some(stdin), Some(stdout)) = (child.stdin.take(), child.stdout.take()) else {
            bail!("the reward program `{command}` has no standard input or output")
        };
        let (requests, received) = sync_channel(1);
        let (replied, replies) = sync_channel(1);
        // A thread, because reads and writes of pipes have no time limit.
        std::thread::spawn(move || talk(stdin, stdout, &received, &replied));
        Ok(Self { command: command.to_string(), child, requests, replies, timeout })
    }

    fn rewards(&mut self, inputs: &[RewardInput<'_>]) -> Result<Vec<f64>> {
        let answer = |input: &RewardInput<'_>| match input.example.completion.as_str() {
            "" => Value::Null,
            answer => answer.into(),
        };
        let completion =
            |input: &RewardInput<'_>| json!([{ "role": "assistant", "content": input.completion }]);
        let request = json!({
            "prompts": inputs.iter().map(|input| &input.example.prompt).collect::<Vec<_>>(),
            "completions": inputs.iter().map(completion).collect::<Vec<_>>(),
            "answers": inputs.iter().map(answer).collect::<Vec<_>>(),
            "terminated": inputs.iter().map(|input| input.terminated()).collect::<Vec<_>>(),
        });
        // A failed send means that the thread has ended, so the reply tells why.
        let _ = self.requests.send(request.to_string());
        let command = &self.command;
        let reply = match self.replies.recv_timeout(self.timeout) {
            Ok(Ok(reply)) => reply,
            Err(RecvTimeoutError::Timeout) => bail!(
                "the reward program `{command}` did not answer {} completions within {} s \
                 (--reward-timeout)",
                inputs.len(),
                self.timeout.as_secs_f64()
            ),
            Ok(Err(_)) | Err(RecvTimeoutError::Disconnected) => {
                let status = self.child.wait()?;
                bail!(
                    "the reward program `{command}` ended ({status}) before it answered; its \
                     error output is above"
                )
            }
        };
        parse_rewards(&reply, inputs.len()).map_err(|error| {
            let start: String = reply.trim_end().chars().take(80).collect();
            anyhow!("the reward program `{command}` answered {start:?}: {error}")
        })
    }
}

impl Drop for RewardProgram {
    fn drop(&mut self) {
        self.requests = sync_channel(1).0; // ends the thread, and with it the program's input
        for _ in 0..20 {
            if matches!(self.child.try_wait(), Ok(Some(_))) {
                return;
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        #[cfg(unix)] // the programs, too, that the program has started
        let _ = Command::new("sh")
            .args(["-c", "kill -s KILL -- \"-$0\"", &self.child.id().to_string()])
            .stderr(Stdio::null())
            .status();
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Writes each request to the program and passes its reply on, until one side ends.
fn talk(
    mut stdin: ChildStdin,
    stdout: ChildStdout,
    requests: &Receiver<String>,
    replies: &SyncSender<std::io::Result<String>>,
) {
    let mut stdout = BufReader::new(stdout);
    for request in requests {
        let mut reply = String::new();
        let outcome = writeln!(stdin, "{request}")
            .and_then(|()| stdin.flush())
            .and_then(|()| stdout.by_ref().take(MAX_REPLY).read_line(&mut reply));
        let outcome = match outcome {
            Ok(0) => Err(std::io::ErrorKind::UnexpectedEof.into()),
            outcome => outcome.map(|_| reply),
        };
        if replies.send(outcome).is_err() {
            return;
        }
    }
}

/// The `n` rewards of a line.
fn parse_rewards(line: &str, n: usize) -> Result<Vec<f64>> {
    let expected = format!("expected a JSON list of {n} numbers, and all else on standard error");
    let rewards: Vec<f64> = serde_json::from_str(line).ok().with_context(|| expected.clone())?;
    ensure!(rewards.len() == n, "{expected}, but there are {}", rewards.len());
    Ok(rewards)
}
