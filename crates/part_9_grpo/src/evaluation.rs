//! How good a model is at a task: by its likeliest completions, and by how often one of k drawn ones is right.

use anyhow::{Result, ensure};
use modern::GptModern;
use modern::sampler::SamplingStrategy;
use ppo::completion_eval::{PpoEvalMetrics, compute_metrics};
use ppo::experience::decode_completions;
use ppo::{
    CompletionEvalConfig, PromptExample, RewardFn, RewardInput, RolloutConfig, ScoredCompletion,
    rollout,
};
use reward::metrics::wilson_interval;
use serde::Serialize;
use tensor_core::Rng;

use crate::{Task, pass_at_k};

/// What a model's likeliest completions are worth.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct GrpoEvalMetrics {
    /// Problems.
    pub n: usize,
    /// The share that is right, in the form that the task wants.
    pub exact_match: f64,
    /// The lower end of its 95 % interval.
    pub exact_match_low: f64,
    /// The upper end.
    pub exact_match_high: f64,
    /// The share that is right whatever its form: what the model knows, whether or not it can say it as it is wanted.
    pub relaxed_match: f64,
    /// Mean reward.
    pub reward_mean: f64,
    /// Mean length in tokens.
    pub length_mean: f64,
    /// The share that the model ended itself.
    pub eos_rate: f64,
}

/// How often drawn completions are right.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct PassAtKMetrics {
    /// At which temperature they were drawn.
    pub temperature: f64,
    /// How likely one is right.
    pub pass_at_1: f64,
    /// Tries.
    pub k: usize,
    /// How likely at least one of k is right.
    pub pass_at_k: f64,
}

/// How a model is examined.
#[derive(Debug, Clone, Copy)]
pub struct GrpoEvaluator<'a> {
    /// What is right.
    pub task: Task,
    /// How problems are put.
    pub eval_config: CompletionEvalConfig<'a>,
}

impl GrpoEvalMetrics {
    /// Of `answers` to `questions` of `task`, of which there is at least one.
    pub fn from_completions(
        task: Task,
        questions: &[PromptExample],
        answers: &[ScoredCompletion],
    ) -> Self {
        let share = |right: fn(Task, &RewardInput<'_>) -> bool| {
            let each =
                questions.iter().zip(answers).filter(|(PromptExample { example, .. }, answer)| {
                    right(
                        task,
                        &RewardInput {
                            example,
                            completion: &answer.text,
                            terminated: answer.terminated,
                        },
                    )
                });
            each.count() as f64 / answers.len() as f64
        };
        let PpoEvalMetrics { n, reward_mean, length_mean, eos_rate, .. } =
            compute_metrics(questions, answers);
        let (exact_match, form_forgiven) = (share(Task::exact_match), share(Task::relaxed_match));
        let [exact_match_low, exact_match_high] = wilson_interval(exact_match, n);
        Self {
            n,
            exact_match,
            exact_match_low,
            exact_match_high,
            relaxed_match: form_forgiven,
            reward_mean,
            length_mean,
            eos_rate,
        }
    }
}

impl PassAtKMetrics {
    /// Of problems of whose `n` completions, drawn at `temperature`, so many were `right` each.
    pub fn from_counts(right: &[usize], n: usize, k: usize, temperature: f64) -> Self {
        let mean =
            |k| right.iter().map(|&c| pass_at_k(n, c, k)).sum::<f64>() / right.len().max(1) as f64;
        Self { temperature, pass_at_1: mean(1), k, pass_at_k: mean(k) }
    }
}

impl GrpoEvaluator<'_> {
    /// The likeliest completions of `model`, an inference twin, to `questions`, and what they are worth.
    ///
    /// # Errors
    /// When there is no question.
    pub fn evaluate_greedy(
        &self,
        model: &GptModern,
        questions: &[PromptExample],
        scorer: &mut RewardFn,
    ) -> Result<(GrpoEvalMetrics, Vec<ScoredCompletion>)> {
        ensure!(!questions.is_empty(), "there is no problem to evaluate");
        let rng = &mut Rng::new(0);
        let answers = self.eval_config.generate_and_score(
            model,
            questions,
            SamplingStrategy::Greedy,
            scorer,
            rng,
        )?;
        Ok((GrpoEvalMetrics::from_completions(self.task, questions, &answers), answers))
    }

    /// pass@k of `config.samples` completions that are drawn to each of `questions`.
    ///
    /// # Errors
    /// When k is larger than the number of completions, or there is no question.
    pub fn evaluate_sampled(
        &self,
        model: &GptModern,
        questions: &[PromptExample],
        config: &RolloutConfig,
        k: usize,
        rng: &mut Rng,
    ) -> Result<PassAtKMetrics> {
        let n = config.group_size;
        ensure!(!questions.is_empty(), "there is no problem to evaluate");
        ensure!((1..=n).contains(&k), "pass@k needs at least k completions; there are {n}");
        let mut right = Vec::with_capacity(questions.len());
        for questions in questions.chunks((self.eval_config.batch_size / n).max(1)) {
            let prompts: Vec<Vec<u32>> = questions.iter().map(|q| q.prompt.clone()).collect();
            let groups = rollout(model, &prompts, config, rng)?;
            let mut texts =
                decode_completions(&groups, self.eval_config.chat_tokenizer)?.into_iter();
            for (PromptExample { example, .. }, group) in questions.iter().zip(&groups) {
                let said = group.completions.iter().zip(texts.by_ref());
                let is_right = |(response, text): &(&ppo::SampledCompletion, String)| {
                    self.task.exact_match(&RewardInput {
                        example,
                        completion: text,
                        terminated: response.terminated(),
                    })
                };
                right.push(said.filter(is_right).count());
            }
        }
        Ok(PassAtKMetrics::from_counts(&right, n, k, config.temperature()))
    }
}
