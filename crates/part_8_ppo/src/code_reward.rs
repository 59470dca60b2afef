//! 8.5 Code reward: the unit tests that a completion's Python passes, in a
//! [sandbox](crate::sandbox).
//!
//! By default it is 1 if all tests pass, else 0, which is what benchmarks count. The fraction of
//! passed tests gives a signal earlier, and pays for a function that only knows the answers of the
//! tests in its prompt.

use std::sync::{Mutex, PoisonError};
use std::thread::scope;

use anyhow::{Result, anyhow, ensure};
use serde::Serialize;
use tensor_core::{Rng, threads};

use crate::reward_fn::{NamedRewardFn, RewardInput, RewardPart, RewardParts};
use crate::sandbox::{Sandbox, TestReport};

/// Reward of a program that passes some of its tests.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum CodeScore {
    /// 1 if every test passes, else 0
    #[default]
    All,
    /// Fraction of the tests that pass
    Fraction,
}

impl CodeScore {
    /// Reward of a program that passes `n_passed` of `n_tests` tests, of which there is one.
    pub fn reward(self, n_passed: usize, n_tests: usize) -> f64 {
        match self {
            Self::All => f64::from(u8::from(n_passed == n_tests)),
            Self::Fraction => n_passed as f64 / n_tests as f64,
        }
    }
}

/// Reward function that runs completions with the tests of their examples in `sandbox`. Its part
/// says why a program failed.
pub fn code_reward_fn(sandbox: Sandbox, score: CodeScore) -> NamedRewardFn {
    let name = match score {
        CodeScore::All => "code",
        CodeScore::Fraction => "code, fraction of tests",
    };
    let parts = RewardParts::default();
    let last_parts = parts.clone();
    let reward_fn = move |inputs: &[RewardInput<'_>], _: &mut Rng| {
        let reports = run_all(&sandbox, inputs)?;
        let rewards: Vec<f64> = reports
            .iter()
            .zip(inputs)
            .map(|(report, input)| score.reward(report.n_passed, input.example.tests.len()))
            .collect();
        let notes = reports.into_iter().map(|report| report.failure.unwrap_or_default()).collect();
        let part = RewardPart { name: "code".into(), rewards: rewards.clone(), notes };
        last_parts.0.replace(vec![part]);
        Ok(rewards)
    };
    NamedRewardFn {
        parts,
        max_reward: Some(1.),
        ..NamedRewardFn::new(Box::new(reward_fn), name.into())
    }
}

/// Reports of the programs of `inputs`, as many at a time as `--threads`.
fn run_all(sandbox: &Sandbox, inputs: &[RewardInput<'_>]) -> Result<Vec<TestReport>> {
    let untested = inputs.iter().find(|input| input.example.tests.is_empty());
    ensure!(
        untested.is_none(),
        "the reward code needs rows with tests (column tests or test_list)"
    );
    let mut reports = vec![TestReport::default(); inputs.len()];
    let jobs = Mutex::new(inputs.iter().zip(&mut reports));
    // A function, so that the lock ends with it and not with the loop's body.
    let next_job = || jobs.lock().unwrap_or_else(PoisonError::into_inner).next();
    let work = || -> Result<()> {
        while let Some((input, report)) = next_job() {
            *report = sandbox.run(&program(input), &input.example.tests)?;
        }
        Ok(())
    };
    let n_workers = threads::num_threads().min(inputs.len());
    scope(|scope| {
        let workers: Vec<_> = (0..n_workers).map(|_| scope.spawn(work)).collect();
        workers.into_iter().try_for_each(|worker| {
            worker.join().unwrap_or_else(|_| Err(anyhow!("a thread of the code reward panicked")))
        })
    })?;
    Ok(reports)
}

/// Program of a completion: its Python. Where the prompt is the head of the function that the tests
/// check, as in HumanEval, and the completion does not define that function, it is its body.
pub(crate) fn program(input: &RewardInput<'_>) -> String {
    let code = extract_python(input.completion);
    let prompt = input.example.prompt.last().map_or("", |message| &message.content);
    let name = input.example.tests.last().and_then(|test| {
        let (_, call) = test.trim_end().rsplit_once("check(")?;
        call.strip_suffix(')')
    });
    let defines = |text: &str, name: &str| {
        let head = format!("def {name}(");
        text.lines().any(|line| line.trim_start().trim_start_matches("async ").starts_with(&head))
    };
    match name {
        Some(name) if defines(prompt, name) && !defines(code, name) => {
            format!("{}\n{}", prompt.trim_end(), indented(code))
        }
        _ => code.to_string(),
    }
}

/// Body of a function with the indentation that a completion may lack: that of its first line,
/// which is easily trimmed away, or of all.
fn indented(body: &str) -> String {
    const INDENT: &str = "    ";
    let body = body.trim_end().trim_start_matches('\n');
    let is_indented = |line: &&str| line.trim().is_empty() || line.starts_with([' ', '\t']);
    if is_indented(&body) {
        return body.to_string();
    }
    let mut rest = body.lines().skip(1).filter(|line| !line.trim().is_empty()).peekable();
    // After a first line such as `if x:` the next is indented twice if the first is trimmed.
    let next = rest.peek().map_or(0, |line| line.len() - line.trim_start().len());
    let opens_block = body.lines().next().is_some_and(|line| line.trim_end().ends_with(':'));
    let is_trimmed = next > 0 && !(opens_block && next <= INDENT.len());
    match is_trimmed && rest.all(|line| is_indented(&line)) {
        true => format!("{INDENT}{body}"),
        false => body.lines().map(|line| format!("{INDENT}{line}\n")).collect(),
    }
}

/// Python in a completion: its last fenced block, closed or not, else the whole text. A lone fence
/// without a language after code closes a block that the prompt has opened.
///
/// # Examples
/// ```
/// use ppo::code_reward::extract_python;
/// assert_eq!(extract_python("Try:\n```python\nx = 1\n```\nDone."), "x = 1\n");
/// assert_eq!(extract_python("x = 1"), "x = 1");
/// assert_eq!(extract_python("x = 1\n```\nDone."), "x = 1\n");
/// ```
pub fn extract_python(completion: &str) -> &str {
    if let Some((code, after)) = completion.split_once("```") {
        let introduces_code = code.trim().is_empty() || code.trim_end().ends_with(':');
        let has_language = after.starts_with(|c: char| c.is_ascii_alphanumeric());
        if !after.contains("```") && !introduces_code && !has_language {
            return code;
        }
    }
    let mut fences = completion.match_indices("```").map(|(at, _)| at);
    let mut code = completion;
    while let Some(opening) = fences.next() {
        let block = &completion[opening..fences.next().unwrap_or(completion.len())];
        code = block.split_once('\n').map_or("", |(_, code)| code);
    }
    code
}
