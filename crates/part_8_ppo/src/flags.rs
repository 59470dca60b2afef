//! Flags of rollouts and of their rewards.

use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Result, bail};
use candle_core::Device;
use clap::Args;
use datasets::answers::final_answer;
use datasets::{Example, ExampleColumns};
use experiment::number::{probability, seconds, temperature, unit_interval};
use experiment::program::{as_usage_error, ensure_usage};
use modern::{Sampler, SamplingStrategy};
use serde::Serialize;
use sft::flags::DataFlags;
use sft::{ChatFormat, ChatTokenizer, SftSource};

use crate::PromptExample;
use crate::code_reward::{CodeScore, code_reward_fn};
use crate::context_overflow::ContextOverflow;
use crate::judge::LlmJudge;
use crate::prompts::{PromptFormat, limit_length, tokenize_prompts};
use crate::reward_fn::{self, NamedRewardFn, OutcomeRewards};
use crate::reward_program::reward_program_fn;
use crate::rollout::RolloutConfig;
use crate::sandbox::{Sandbox, SandboxLimits};

/// Flags of the rollout: completions per prompt and sampling.
#[derive(Debug, Clone, Copy, Serialize, Args)]
#[command(next_help_heading = "Algorithm")]
pub struct RolloutFlags {
    /// Completions sampled per prompt
    #[arg(
        long, visible_alias = "num-generations", aliases = ["samples", "num-samples"],
        value_name = "N", default_value = "8"
    )]
    pub group_size: NonZeroUsize,
    /// Largest number of tokens per completion [default: 8 for arithmetic, else 64]
    #[arg(long, visible_aliases = ["max-completion-length", "response-length"], value_name = "N")]
    pub max_new_tokens: Option<NonZeroUsize>,
    /// Sampling temperature
    #[arg(long, value_name = "T", default_value_t = 1., value_parser = temperature)]
    pub temperature: f64,
    /// Sample from the K most likely tokens; 0: from all
    #[arg(long, value_name = "K", default_value_t = 0)]
    pub top_k: usize,
    /// Nucleus sampling: sample from the fewest tokens with total probability P
    #[arg(long, value_name = "P", value_parser = probability)]
    pub top_p: Option<f64>,
    /// Shortest completions, and batches.
    #[command(flatten)]
    pub limits: RolloutLimitFlags,
}

/// Flags of the length of completions, and of the number that are sampled together.
#[derive(Debug, Clone, Copy, Serialize, Args)]
#[command(next_help_heading = "Algorithm")]
pub struct RolloutLimitFlags {
    /// Smallest number of tokens before a completion may end [default: 0]
    #[arg(long, value_name = "N")]
    pub min_new_tokens: Option<usize>,
    /// Prompts whose completions are sampled together: less memory, the same completions [default:
    /// all of a step]
    #[arg(long, visible_alias = "local-rollout-forward-batch-size", value_name = "N")]
    pub rollout_batch_size: Option<NonZeroUsize>,
}

impl RolloutLimitFlags {
    /// `config` with these limits.
    pub fn limit(&self, config: RolloutConfig) -> RolloutConfig {
        RolloutConfig {
            min_new_tokens: self.min_new_tokens.unwrap_or(0),
            batch_size: self.rollout_batch_size.map_or(usize::MAX, NonZeroUsize::get),
            ..config
        }
    }
}

/// Flags of the training prompts.
#[derive(Debug, Clone, Serialize, Args)]
#[command(next_help_heading = "Data")]
pub struct PromptFlags {
    /// Maximum prompt length in tokens; longer prompts are dropped [default: what leaves room for a
    /// completion]
    #[arg(long, value_name = "N")]
    pub max_prompt_length: Option<NonZeroUsize>,
    /// Text of a prompt, in which {question} is the question of a row: no system prompt, and
    /// --template joined unless another is given
    #[arg(long, value_name = "TEXT")]
    pub prompt_format: Option<PromptFormat>,
}

impl PromptFlags {
    /// Chat format of the run: `given`, else that of the prompt format.
    pub fn chat_format(&self, given: Option<ChatFormat>) -> Option<ChatFormat> {
        given.or(self.prompt_format.is_some().then_some(ChatFormat::Joined))
    }

    /// `examples` with prompts in the prompt format.
    ///
    /// # Errors
    /// When a prompt is not a single question.
    pub fn format(&self, examples: &mut [Example]) -> Result<()> {
        let Some(format) = &self.prompt_format else { return Ok(()) };
        examples.iter_mut().try_for_each(|example| format.apply(example))
    }

    /// Tokenized prompts of `examples` for a model with `context_len`, and the number of examples
    /// that were dropped because their prompt is too long.
    ///
    /// # Errors
    /// When all are dropped.
    pub fn tokenize(
        &self,
        examples: Vec<Example>,
        chat_tokenizer: &ChatTokenizer,
        context_len: usize,
        max_new_tokens: usize,
    ) -> Result<(Vec<PromptExample>, usize)> {
        let tokenized = tokenize_prompts(examples, chat_tokenizer, context_len, max_new_tokens)?;
        limit_length(tokenized, self.max_prompt_length)
    }
}

impl RolloutFlags {
    /// Checks that an update can learn from such rollouts; `default_max_new_tokens` is the value of
    /// --max-new-tokens when it is not given.
    ///
    /// # Errors
    /// A usage error otherwise.
    pub fn check(&self, default_max_new_tokens: usize) -> Result<()> {
        as_usage_error(self.config(vec![0], default_max_new_tokens).check())
    }

    /// Rollout settings with these stop tokens; `default` is the value of --max-new-tokens when it
    /// is not given.
    pub fn config(&self, stop_token_ids: Vec<u32>, default: usize) -> RolloutConfig {
        let top_k = Some(self.top_k).filter(|&k| k > 0);
        let strategy = SamplingStrategy::new(self.temperature, top_k, self.top_p, None);
        let max_new_tokens = self.max_new_tokens.map_or(default, NonZeroUsize::get);
        let (group_size, sampler) = (self.group_size.get(), Sampler::new(strategy));
        let config = RolloutConfig::new(group_size, sampler, max_new_tokens, stop_token_ids);
        self.limits.limit(config)
    }
}

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
}

impl JudgeFlags {
    /// Checks that there is a judge if the reward of a new run uses one, and only then.
    ///
    /// # Errors
    /// A usage error.
    pub fn check(&self, is_used: bool) -> Result<()> {
        ensure_usage(
            is_used == self.judge_model.is_some(),
            "--reward judge and --judge-model MODEL need each other",
        )
    }

    /// Reward function of the judge.
    ///
    /// # Errors
    /// A usage error without --judge-model, and those of [`LlmJudge::open`].
    pub fn open_reward_fn(&self, device: &Device) -> Result<NamedRewardFn> {
        let model = self.judge_model.as_deref();
        ensure_usage(model.is_some(), "--reward judge needs --judge-model MODEL")?;
        Ok(LlmJudge::open(model.unwrap_or(""), self.judge_prompt.as_deref(), device)?.reward_fn())
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
    /// Checks that there is a program if the reward of a new run uses one, and only then.
    ///
    /// # Errors
    /// A usage error.
    pub fn check(&self, is_used: bool) -> Result<()> {
        ensure_usage(
            is_used == self.reward_program.is_some(),
            "--reward program and --reward-program COMMAND need each other",
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
    /// The two rewards, if the reward function `uses` them.
    ///
    /// # Errors
    /// A usage error when they are given and not used, or a wrong completion gets no less.
    pub fn rewards(self, uses: bool) -> Result<OutcomeRewards> {
        let rewards = OutcomeRewards { correct: self.correct_reward, wrong: self.wrong_reward };
        ensure_usage(
            uses || rewards == OutcomeRewards::default(),
            "--correct-reward and --wrong-reward need a reward that only tells right from wrong",
        )?;
        ensure_usage(
            rewards.correct > rewards.wrong,
            "--correct-reward must be more than --wrong-reward, or the policy learns to be wrong",
        )?;
        Ok(rewards)
    }
}

/// Flags that choose the reward function.
#[derive(Debug, Clone, Serialize, Args)]
#[command(next_help_heading = "Algorithm")]
pub struct RewardFnFlags {
    /// Reward function: rule (1 if the answer is right), program (see --reward-program), code (1 if
    /// the completion's Python passes the tests of its row; it is run, in a sandbox), judge (the
    /// score of --judge-model), random (a control), or a reward model: a folder, a run's folder, or
    /// owner/name on the Hub [default: program with --reward-program, else rule]
    #[arg(long, value_name = "REWARD")]
    pub reward: Option<String>,
    /// Reward program.
    #[command(flatten)]
    pub program: RewardProgramFlags,
    /// Values of right and wrong completions.
    #[command(flatten)]
    pub outcome: OutcomeRewardFlags,
    /// With --reward rule, credit for a wrong answer that is at least a number, from 0
    /// (--wrong-reward) to 1 (--correct-reward); not for arithmetic
    #[arg(
        long, alias = "form-credit", value_name = "X", default_value_t = 0.,
        value_parser = unit_interval
    )]
    pub format_reward: f64,
}

impl RewardFnFlags {
    /// Checks the combination of flags.
    ///
    /// # Errors
    /// A usage error when --format-reward, --correct-reward or --wrong-reward has no effect.
    pub fn check(&self, data: &str) -> Result<()> {
        self.outcome.rewards(["rule", "code"].contains(&self.source()))?;
        let has_effect = self.source() == "rule" && data != "arithmetic";
        ensure_usage(
            has_effect || self.format_reward == 0.,
            "--format-reward needs --reward rule and data other than arithmetic, where only the \
             bare answer is rewarded",
        )
    }

    /// Reward function as text.
    pub fn source(&self) -> &str {
        let default = if self.program.reward_program.is_some() { "program" } else { "rule" };
        self.reward.as_deref().unwrap_or(default)
    }

    /// Source and columns of `data`: rows need a completion only if it is the right answer.
    ///
    /// # Errors
    /// Those of [`DataFlags::open_source`].
    pub fn open_prompts(&self, data: &DataFlags) -> Result<(SftSource, Option<ExampleColumns>)> {
        let (source, columns) = data.open_source()?;
        let default = match self.source() {
            "rule" => None,
            "code" => Some(ExampleColumns::Code),
            _ => Some(ExampleColumns::AnyPrompt),
        };
        Ok((source, columns.or(default)))
    }

    /// Checks that the rule can reward the right answer of each of `examples`, which are those of
    /// `data`, or that they have tests.
    ///
    /// # Errors
    /// Names an answer without a number, or the missing tests.
    pub fn check_answers(&self, data: &str, examples: &[Example]) -> Result<()> {
        let untested = examples.iter().any(|example| example.tests.is_empty());
        if self.source() == "code" && untested {
            bail!("{data}: --reward code needs rows with tests: a column tests, or test_list");
        }
        if self.source() != "rule" || data == "arithmetic" {
            return Ok(());
        }
        let is_text = |example: &&Example| final_answer(&example.completion).is_none();
        if let Some(example) = examples.iter().find(is_text) {
            bail!(
                "{data}: --reward rule compares numbers, and the answer {:?} has none: use a \
                 reward model or program",
                example.completion
            );
        }
        Ok(())
    }

    /// Reward function for completions of prompts from `data` by a policy with `chat_tokenizer`.
    /// Prints a note if a reward model has another tokenizer.
    ///
    /// # Errors
    /// When there is no such reward model.
    pub fn open_reward_fn(
        &self,
        data: &str,
        chat_tokenizer: &ChatTokenizer,
        batch_size: usize,
        device: &Device,
    ) -> Result<NamedRewardFn> {
        let outcome = self.outcome.rewards(true)?;
        let (reward_fn, name) = match (self.source(), data) {
            ("program", _) => return self.program.open_reward_fn(),
            ("judge", _) => return self.program.judge.open_reward_fn(device),
            ("code", _) => return Ok(outcome.apply(self.program.code.open_reward_fn()?)),
            ("rule", "arithmetic") => (reward_fn::exact_match_reward_fn(), "exact".to_string()),
            ("rule", _) => (
                reward_fn::final_answer_reward_fn(self.format_reward),
                format!("final answer, {} for the form", self.format_reward),
            ),
            // The name that checkpoints from before the renaming hold.
            ("random" | "chance", _) => (reward_fn::random_reward_fn(), "chance".to_string()),
            (source, _) => {
                let overflow = ContextOverflow::default();
                let (reward_model, other) = reward_fn::open_reward_model(
                    source,
                    chat_tokenizer,
                    batch_size,
                    device,
                    overflow,
                )?;
                if other {
                    println!(
                        "the reward model has another tokenizer than the policy: completions are \
                         tokenized again for it"
                    );
                }
                return Ok(reward_model);
            }
        };
        let named = NamedRewardFn { max_reward: Some(1.), ..NamedRewardFn::new(reward_fn, name) };
        Ok(if self.source() == "rule" { outcome.apply(named) } else { named })
    }
}

/// Parses a finite number.
pub(crate) fn finite(text: &str) -> Result<f64, String> {
    let number: f64 = text.parse().map_err(|_| "expected a number".to_string())?;
    if number.is_finite() { Ok(number) } else { Err("must be finite".into()) }
}
