//! Flags of rewards: a program, a judge, tests of code, the values of right and wrong completions.

use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::Result;
use candle_core::Device;
use clap::Args;
use experiment::number::seconds;
use experiment::program::ensure_usage;
use model_io::{ChatArguments, ChatVariables};
use modern::flags::as_one_setting;
use serde::Serialize;

use crate::code_reward::{CodeScore, code_reward_fn};
use crate::judge::LlmJudge;
use crate::reward_fn::{NamedRewardFn, OutcomeRewards};
use crate::reward_program::reward_program_fn;
use crate::sandbox::{Sandbox, SandboxLimits};
use crate::scoring_counter::ScoringCounter;

/// Flags of rewards by other programs.
#[derive(Debug, Clone, Serialize, Args)]
#[command(next_help_heading = "Algorithm")]
pub struct RewardProgramFlags {
    /// Program that rewards completions, such as "python3 reward.py": it reads a batch as a line of
    /// JSON (prompts, completions, answers, terminated) and prints a line, a list of rewards
    #[arg(long, value_name = "COMMAND")]
    pub reward_program: Option<String>,
    /// Seconds that the reward program has for a batch
    #[arg(long, value_name = "X", default_value_t = 60., value_parser = seconds)]
    pub reward_timeout: f64,
    /// Code reward.
    #[command(flatten)]
    pub code: CodeRewardFlags,
    /// Judge.
    #[command(flatten)]
    pub judge: JudgeFlags,
}

/// Flags of a language model that scores completions (LLM as a judge).
#[derive(Debug, Clone, Serialize, Args)]
#[command(next_help_heading = "Algorithm")]
pub struct JudgeFlags {
    /// With --reward judge: chat model that scores completions: a folder, a run's folder, a .gguf
    /// file, or owner/name on the Hub
    #[arg(long, value_name = "MODEL")]
    pub judge_model: Option<String>,
    /// With --reward judge: file with the question to the judge, in which {prompt}, {completion}
    /// and {answer} are replaced [default: built in; asks for Score: 0 to 10]
    #[arg(long, value_name = "FILE", requires = "judge_model")]
    pub judge_prompt: Option<PathBuf>,
    /// With --reward judge: variable of the judge's chat template, for example
    /// enable_thinking=false; may be repeated
    #[arg(long, value_name = "NAME=VALUE", requires = "judge_model")]
    #[serde(serialize_with = "as_one_setting")]
    pub judge_template_arg: Vec<ChatArguments>,
}

impl JudgeFlags {
    /// Reward function of the judge, in a run with these chat `variables`: the judge reads their
    /// date, and has arguments of its own.
    ///
    /// # Errors
    /// A usage error without --judge-model, and those of [`LlmJudge::open`].
    pub fn open_reward_fn(
        &self,
        variables: &ChatVariables,
        device: &Device,
        counter: ScoringCounter,
    ) -> Result<NamedRewardFn> {
        let model = self.judge_model.as_deref();
        ensure_usage(model.is_some(), "--reward judge needs --judge-model MODEL")?;
        let arguments = self.judge_template_arg.iter().cloned().collect();
        let variables = ChatVariables { date: variables.date, arguments };
        let (model, question) = (model.unwrap_or(""), self.judge_prompt.as_deref());
        let judge = LlmJudge::open(model, question, variables, device)?;
        Ok(judge.reward_fn(counter))
    }
}

/// Flags of the code reward, which runs completions with the tests of their rows in a sandbox.
#[derive(Debug, Clone, Serialize, Args)]
#[command(next_help_heading = "Algorithm")]
pub struct CodeRewardFlags {
    /// With --reward code: Python interpreter, a name or a path; its packages can be imported
    #[arg(long, value_name = "PYTHON", default_value = "python3")]
    pub code_python: String,
    /// With --reward code: seconds that a completion has, with its tests
    #[arg(long, value_name = "X", default_value_t = 10., value_parser = seconds)]
    pub code_timeout: f64,
    /// With --reward code: megabytes of memory that a completion has
    #[arg(long, value_name = "N", default_value = "512")]
    pub code_memory: NonZeroUsize,
    /// With --reward code: reward of a completion that passes some tests
    #[arg(long, value_enum, default_value_t)]
    pub code_score: CodeScore,
}

impl CodeRewardFlags {
    /// Code reward.
    ///
    /// # Errors
    /// When a protection of the sandbox is missing on this machine.
    pub fn open_reward_fn(&self) -> Result<NamedRewardFn> {
        let time = Duration::from_secs_f64(self.code_timeout);
        let limits = SandboxLimits { time, memory_mb: self.code_memory.get() as u64 };
        Ok(code_reward_fn(Sandbox::open(&self.code_python, limits)?, self.code_score))
    }
}

impl RewardProgramFlags {
    /// Checks that a program and a judge are named if the reward `has` them, and only then.
    ///
    /// # Errors
    /// A usage error.
    pub fn check(&self, has: impl Fn(&str) -> bool) -> Result<()> {
        ensure_usage(
            has("program") == self.reward_program.is_some(),
            "the reward `program` and --reward-program COMMAND need each other",
        )?;
        ensure_usage(
            has("judge") == self.judge.judge_model.is_some(),
            "the reward `judge` and --judge-model MODEL need each other",
        )
    }

    /// Reward function of the program.
    ///
    /// # Errors
    /// A usage error without --reward-program, and those of [`reward_program_fn`].
    pub fn open_reward_fn(&self) -> Result<NamedRewardFn> {
        let program = self.reward_program.as_deref();
        ensure_usage(program.is_some(), "--reward program needs --reward-program COMMAND")?;
        reward_program_fn(program.unwrap_or(""), Duration::from_secs_f64(self.reward_timeout))
    }
}

/// Flags of the rewards of rules that only tell right from wrong.
#[derive(Debug, Clone, Copy, Serialize, Args)]
#[command(next_help_heading = "Algorithm")]
pub struct OutcomeRewardFlags {
    /// Reward of a right completion, where a rule or tests only tell right from wrong
    #[arg(
        long, value_name = "X", default_value_t = 1., value_parser = finite,
        allow_negative_numbers = true
    )]
    pub correct_reward: f64,
    /// Reward of a wrong one
    #[arg(
        long, value_name = "X", default_value_t = 0., value_parser = finite,
        allow_negative_numbers = true
    )]
    pub wrong_reward: f64,
}

impl OutcomeRewardFlags {
    /// The two rewards.
    ///
    /// # Errors
    /// A usage error when a wrong completion gets no less than a right one.
    pub fn rewards(self) -> Result<OutcomeRewards> {
        let rewards = OutcomeRewards { correct: self.correct_reward, wrong: self.wrong_reward };
        ensure_usage(
            rewards.correct > rewards.wrong,
            "--correct-reward must be more than --wrong-reward, or the policy learns to be wrong",
        )?;
        Ok(rewards)
    }

    /// Checks the flags of a run whose reward does more than tell right from wrong.
    ///
    /// # Errors
    /// A usage error when they are given.
    pub fn ensure_unused(self) -> Result<()> {
        let rewards = OutcomeRewards { correct: self.correct_reward, wrong: self.wrong_reward };
        ensure_usage(
            rewards == OutcomeRewards::default(),
            "--correct-reward and --wrong-reward need a reward that only tells right from wrong",
        )
    }
}

/// Parses a finite number.
pub(crate) fn finite(text: &str) -> Result<f64, String> {
    let number: f64 = text.parse().map_err(|_| "expected a number".to_string())?;
    if number.is_finite() { Ok(number) } else { Err("must be finite".into()) }
}
