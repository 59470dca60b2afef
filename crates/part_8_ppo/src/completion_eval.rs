//! 8.5 Completion evaluation: completions of a model for a set of prompts, with rewards and
//! matches.

use anyhow::Result;
use modern::sampler::SamplingStrategy;
use modern::{Completion, FinishReason, GenerateConfig, GptModern, Sampler, generate};
use serde::Serialize;
use sft::ChatTokenizer;
use sft::metrics::{exact_match, relaxed_match};
use tensor_core::Rng;

use crate::prompts::{PromptExample, prompt_ids};
use crate::reward_fn::{
    RewardFn, RewardInput, call_reward_fn, decode_completion, non_finite_message,
};

/// Settings of generation for evaluation.
#[derive(Debug, Clone, Copy)]
pub struct CompletionEvalConfig<'a> {
    /// Tokenizer and stop tokens.
    pub chat_tokenizer: &'a ChatTokenizer,
    /// Largest number of tokens per completion.
    pub max_new_tokens: usize,
    /// Prompts per batch.
    pub batch_size: usize,
}

/// Completion with its reward.
#[derive(Debug, Clone, PartialEq)]
pub struct ScoredCompletion {
    /// Decoded text.
    pub text: String,
    /// Length in tokens, stop token included.
    pub n_tokens: usize,
    /// Reason why it ended.
    pub finish_reason: FinishReason,
    /// Reward of the completion.
    pub reward: f64,
}

impl ScoredCompletion {
    /// Whether it ended with a stop token.
    pub fn terminated(&self) -> bool {
        self.finish_reason == FinishReason::Stop
    }
}

/// Metrics of a set of completions.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct PpoEvalMetrics {
    /// Number of prompts.
    pub n: usize,
    /// Mean reward.
    pub reward_mean: f64,
    /// Share of terminated completions that equal the right one; `None` without right answers.
    pub exact_match: Option<f64>,
    /// Share that match up to case, punctuation and truncation; `None` without right answers.
    pub relaxed_match: Option<f64>,
    /// Mean length in tokens.
    pub length_mean: f64,
    /// Share of terminated completions.
    pub eos_rate: f64,
}

impl CompletionEvalConfig<'_> {
    /// Completions of `model`, built for inference, for `prompts`, sampled by `strategy` and
    /// rewarded by `reward_fn`.
    ///
    /// # Errors
    /// When a prompt fills the context, and those of `reward_fn`.
    pub fn generate_and_score(
        &self,
        model: &GptModern,
        prompts: &[PromptExample],
        strategy: SamplingStrategy,
        reward_fn: &mut RewardFn,
        rng: &mut Rng,
    ) -> Result<Vec<ScoredCompletion>> {
        let stop_tokens = self.chat_tokenizer.stop_token_ids().to_vec();
        let config =
            GenerateConfig::new(model, Sampler::new(strategy), self.max_new_tokens, stop_tokens);
        let mut all = Vec::with_capacity(prompts.len());
        for chunk in prompts.chunks(self.batch_size.max(1)) {
            let ids = prompt_ids(chunk);
            for Completion { tokens, finish_reason, .. } in
                generate(model, &ids, &config, rng, |_, _| Ok(()))?
            {
                let text = decode_completion(&tokens, finish_reason, self.chat_tokenizer)?;
                let n_tokens = tokens.len();
                all.push(ScoredCompletion { text, n_tokens, finish_reason, reward: 0. });
            }
        }
        let inputs: Vec<RewardInput<'_>> = prompts
            .iter()
            .zip(&all)
            .map(|(prompt, completion)| RewardInput {
                example: &prompt.example,
                completion: &completion.text,
                finish_reason: completion.finish_reason,
            })
            .collect();
        let rewards = call_reward_fn(reward_fn, &inputs, rng)?;
        all.iter_mut().zip(rewards).for_each(|(completion, reward)| completion.reward = reward);
        Ok(all)
    }
}

/// Message that names the first completion whose reward is not finite.
pub fn non_finite_reward_message(completions: &[ScoredCompletion]) -> Option<String> {
    let (rewards, texts): (Vec<f64>, Vec<String>) =
        completions.iter().map(|completion| (completion.reward, completion.text.clone())).unzip();
    non_finite_message(&rewards, &texts)
}

/// Metrics of `completions`, one for each of `prompts`.
pub fn compute_metrics(
    prompts: &[PromptExample],
    completions: &[ScoredCompletion],
) -> PpoEvalMetrics {
    let n = completions.len();
    let mean = |of: &dyn Fn(&ScoredCompletion) -> f64| {
        completions.iter().map(of).sum::<f64>() / n.max(1) as f64
    };
    let has_answers = prompts.iter().any(|prompt| !prompt.example.completion.is_empty());
    let share = |right: &dyn Fn(&ScoredCompletion, &str) -> bool| {
        let right = completions
            .iter()
            .zip(prompts)
            .filter(|(completion, prompt)| right(completion, &prompt.example.completion));
        has_answers.then(|| right.count() as f64 / n.max(1) as f64)
    };
    PpoEvalMetrics {
        n,
        reward_mean: mean(&|completion| completion.reward),
        exact_match: share(&|ours, right| ours.terminated() && exact_match(&ours.text, right)),
        relaxed_match: share(&|ours, right| relaxed_match(&ours.text, right)),
        length_mean: mean(&|completion| completion.n_tokens as f64),
        eos_rate: mean(&|completion| f64::from(u8::from(completion.terminated()))),
    }
}
