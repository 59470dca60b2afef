//! Evaluation: rewards and exact match of greedy completions, and pass@k of sampled ones.

use std::fmt;

use anyhow::{Context, Result, ensure};
use experiment::statistics::{mean, wilson_interval};
use modern::GptModern;
use modern::sampler::SamplingStrategy;
use ppo::completion_eval::{PpoEvalMetrics, compute_metrics};
use ppo::prompts::prompt_ids;
use ppo::{
    CompletionEvalConfig, PromptExample, RewardFn, RewardInput, RolloutConfig, ScoredCompletion,
    ScoredRollouts, rollout,
};
use serde::Serialize;
use sft::one_line;
use tensor_core::Rng;

use crate::{Task, pass_at_k};

/// Metrics of greedy completions.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct GrpoEvalMetrics {
    /// Number of problems.
    pub n: usize,
    /// Shares of right completions; `None` for prompts without answers.
    #[serde(flatten)]
    pub matches: Option<MatchMetrics>,
    /// Mean reward.
    pub reward_mean: f64,
    /// Mean length in tokens.
    pub length_mean: f64,
    /// Share of terminated completions.
    pub eos_rate: f64,
}

/// Shares of right completions.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct MatchMetrics {
    /// Share of right completions in the task's format.
    pub exact_match: f64,
    /// Lower end of the 95 % interval of `exact_match`.
    pub exact_match_low: f64,
    /// Upper end of the 95 % interval of `exact_match`.
    pub exact_match_high: f64,
    /// Share of right completions in any format.
    pub relaxed_match: f64,
}

/// pass@1 and pass@k of sampled completions.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct PassAtKMetrics {
    /// Sampling temperature.
    pub temperature: f64,
    /// Probability that one sample is right.
    pub pass_at_1: f64,
    /// Number of samples k.
    pub k: usize,
    /// Probability that at least one of k samples is right.
    pub pass_at_k: f64,
}

/// Exact match before and after training.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ExactMatchChange {
    /// Share of right completions of the model that training started from.
    pub before: f64,
    /// That of the trained model.
    pub after: f64,
}

impl ExactMatchChange {
    /// Change in percentage points.
    pub fn points(self) -> f64 {
        100. * (self.after - self.before)
    }
}

impl fmt::Display for ExactMatchChange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (before, after) = (100. * self.before, 100. * self.after);
        write!(f, "exact match {before:.1} % → {after:.1} %: {:+.1} points", self.points())
    }
}

/// Problem with its completion, one value per line: the prompt, the right answer and the one that
/// was extracted, if the task has answers, the completion, and whether it is right.
pub fn describe_completion(
    task: Task,
    prompt: &PromptExample,
    completion: &ScoredCompletion,
) -> String {
    let example = &prompt.example;
    let question = example.prompt.last().map_or("", |message| &message.content);
    let text = one_line(&completion.text);
    let reward = completion.reward;
    let mut lines = format!("   prompt  {}\n", one_line(question));
    let mut mark = "";
    if task.has_answers() {
        let extracted = task.extract_answer(&completion.text);
        let extracted = extracted.map_or("(none)".to_string(), |answer| one_line(&answer));
        let expected = one_line(&example.completion);
        lines += &format!(" expected  {expected}\nextracted  {extracted}\n");
        let input = RewardInput {
            example,
            completion: &completion.text,
            finish_reason: completion.finish_reason,
        };
        mark = if task.exact_match(&input) { "✓ " } else { "✗ " };
    }
    lines + &format!(" response  {text}\n           {mark}(reward {reward:.2})")
}

/// Evaluator of models on a task.
#[derive(Debug, Clone, Copy)]
pub struct GrpoEvaluator<'a> {
    /// Task, which determines the right completions.
    pub task: Task,
    /// Settings of generation.
    pub eval_config: CompletionEvalConfig<'a>,
}

impl GrpoEvalMetrics {
    /// Metrics of `completions`, one for each of `prompts`, of which there is at least one.
    pub fn from_completions(
        task: Task,
        prompts: &[PromptExample],
        completions: &[ScoredCompletion],
    ) -> Self {
        let share = |is_right: fn(Task, &RewardInput<'_>) -> bool| {
            let right = prompts.iter().zip(completions).filter(|(prompt, completion)| {
                let input = RewardInput {
                    example: &prompt.example,
                    completion: &completion.text,
                    finish_reason: completion.finish_reason,
                };
                is_right(task, &input)
            });
            right.count() as f64 / completions.len() as f64
        };
        let PpoEvalMetrics { n, reward_mean, length_mean, eos_rate, .. } =
            compute_metrics(prompts, completions);
        let matches = task.has_answers().then(|| {
            let (exact_match, relaxed_match) =
                (share(Task::exact_match), share(Task::relaxed_match));
            let [exact_match_low, exact_match_high] = wilson_interval(exact_match, n);
            MatchMetrics { exact_match, exact_match_low, exact_match_high, relaxed_match }
        });
        Self { n, matches, reward_mean, length_mean, eos_rate }
    }
}

impl GrpoEvalMetrics {
    /// Shares of right completions.
    ///
    /// # Errors
    /// When the prompts have no right answers.
    pub fn matches(&self) -> Result<MatchMetrics> {
        self.matches.context("the prompts have no right answers")
    }
}

impl PassAtKMetrics {
    /// Metrics of problems with `n` samples each, `n_right[i]` of which are right for problem `i`.
    pub fn from_counts(n_right: &[usize], n: usize, k: usize, temperature: f64) -> Self {
        let mean_pass =
            |k| mean(&n_right.iter().map(|&c| pass_at_k(n, c, k)).collect::<Vec<f64>>());
        Self { temperature, pass_at_1: mean_pass(1), k, pass_at_k: mean_pass(k) }
    }
}

impl GrpoEvaluator<'_> {
    /// Greedy completions of `model`, built for inference, for `prompts`, and their metrics. A
    /// random reward is drawn from `seed`.
    ///
    /// # Errors
    /// When there are no prompts, and those of `reward_fn`.
    pub fn evaluate_greedy(
        &self,
        model: &GptModern,
        prompts: &[PromptExample],
        reward_fn: &mut RewardFn,
        seed: u64,
    ) -> Result<(GrpoEvalMetrics, Vec<ScoredCompletion>)> {
        ensure!(!prompts.is_empty(), "there are no problems to evaluate");
        let strategy = SamplingStrategy::Greedy;
        let rng = &mut Rng::new(seed);
        let completions =
            self.eval_config.generate_and_score(model, prompts, strategy, reward_fn, rng)?;
        Ok((GrpoEvalMetrics::from_completions(self.task, prompts, &completions), completions))
    }

    /// pass@k of `config.group_size` sampled completions per prompt.
    ///
    /// # Errors
    /// When k is larger than the group size, or there are no prompts.
    pub fn evaluate_sampled(
        &self,
        model: &GptModern,
        prompts: &[PromptExample],
        config: &RolloutConfig,
        k: usize,
        rng: &mut Rng,
    ) -> Result<PassAtKMetrics> {
        let n = config.group_size;
        ensure!((1..=n).contains(&k), "pass@k needs at least k completions; there are {n}");
        let n_right = self.count_right(model, prompts, config, rng)?;
        Ok(PassAtKMetrics::from_counts(&n_right, n, k, config.temperature()))
    }

    /// Number of right completions of each prompt, of `config.group_size` sampled ones.
    ///
    /// # Errors
    /// When there are no prompts.
    pub fn count_right(
        &self,
        model: &GptModern,
        prompts: &[PromptExample],
        config: &RolloutConfig,
        rng: &mut Rng,
    ) -> Result<Vec<usize>> {
        ensure!(!prompts.is_empty(), "there are no problems to evaluate");
        let n = config.group_size;
        let (task, chat_tokenizer) = (self.task, self.eval_config.chat_tokenizer);
        let mut exact_match = move |inputs: &[RewardInput<'_>], _: &mut Rng| {
            Ok(inputs.iter().map(|input| f64::from(u8::from(task.exact_match(input)))).collect())
        };
        let mut n_right = Vec::with_capacity(prompts.len());
        for chunk in prompts.chunks((self.eval_config.batch_size / n).max(1)) {
            let ids = prompt_ids(chunk);
            let groups = rollout(model, &ids, config, rng)?;
            let rollouts =
                ScoredRollouts::new(groups, chunk, chat_tokenizer, &mut exact_match, rng)?;
            let groups = rollouts.rewards.chunks(n);
            n_right.extend(groups.map(|rewards| rewards.iter().sum::<f64>() as usize));
        }
        Ok(n_right)
    }
}
