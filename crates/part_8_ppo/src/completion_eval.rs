//! 8.4 What a model answers to questions, and what that is worth.

use anyhow::Result;
use modern::sampler::SamplingStrategy;
use modern::{FinishReason, GenerateConfig, GptModern, Sampler, SkipSpecialTokens, generate};
use sft::ChatTokenizer;
use sft::metrics::{exact_match, relaxed_match};
use tensor_core::Rng;

use crate::experience::non_finite_message;
use crate::prompts::PromptExample;
use crate::reward_fn::{RewardFn, RewardInput, call_reward_fn};

/// How questions are put.
#[derive(Debug, Clone, Copy)]
pub struct CompletionEvalConfig<'a> {
    /// How answers are read, and where they end.
    pub chat_tokenizer: &'a ChatTokenizer,
    /// Longest answer, in tokens.
    pub max_new_tokens: usize,
    /// Questions at a time.
    pub batch_size: usize,
}

/// An answer, and what it scored.
#[derive(Debug, Clone, PartialEq)]
pub struct ScoredCompletion {
    /// In words.
    pub text: String,
    /// Its length in tokens, the end included.
    pub n_tokens: usize,
    /// Whether it ended itself.
    pub terminated: bool,
    /// Its score.
    pub reward: f64,
}

/// How well questions were answered.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct PpoEvalMetrics {
    /// Questions.
    pub n: usize,
    /// The mean score.
    pub reward_mean: f64,
    /// Share of answers that are the wanted one and ended themselves; of questions without one, nothing.
    pub exact_match: Option<f64>,
    /// The same with case, punctuation and what comes of running on forgiven.
    pub relaxed_match: Option<f64>,
    /// In tokens.
    pub length_mean: f64,
    /// Share of answers that ended themselves.
    pub eos_rate: f64,
}

impl CompletionEvalConfig<'_> {
    /// The answers of `model`, an inference twin, to `questions`, their tokens chosen by `choice`.
    ///
    /// # Errors
    /// When a prompt fills the context, and those of `scorer`.
    pub fn generate_and_score(
        &self,
        model: &GptModern,
        questions: &[PromptExample],
        choice: SamplingStrategy,
        scorer: &mut RewardFn,
        rng: &mut Rng,
    ) -> Result<Vec<ScoredCompletion>> {
        let (sampler, stop) = (Sampler::new(choice), self.chat_tokenizer.stop_token_ids().to_vec());
        let config = GenerateConfig::new(model, sampler, self.max_new_tokens, stop);
        let mut all = Vec::with_capacity(questions.len());
        for questions in questions.chunks(self.batch_size.max(1)) {
            let prompts: Vec<Vec<u32>> = questions.iter().map(|one| one.prompt.clone()).collect();
            for written in generate(model, &prompts, &config, rng, |_, _| Ok(()))? {
                let (length, ended) =
                    (written.tokens.len(), written.finish_reason == FinishReason::Stop);
                let text = decode_completion(&written.tokens, ended, self.chat_tokenizer)?;
                all.push(ScoredCompletion {
                    text,
                    n_tokens: length,
                    terminated: ended,
                    reward: 0.,
                });
            }
        }
        let each = questions.iter().zip(&all);
        let replies: Vec<RewardInput<'_>> = each
            .map(
                |(
                    PromptExample { example, .. },
                    ScoredCompletion { text, terminated: ended, .. },
                )| RewardInput { example, completion: text, terminated: *ended },
            )
            .collect();
        let scores = call_reward_fn(scorer, &replies, rng)?;
        all.iter_mut().zip(scores).for_each(|(answer, score)| answer.reward = score);
        Ok(all)
    }
}

/// `tokens` in words, without the token that `ended` them. All others are there to be seen and judged, special ones by their names: what
/// a scorer did not see, a policy could write at will.
///
/// # Errors
/// When they cannot be decoded.
pub(crate) fn decode_completion(
    tokens: &[u32],
    ended: bool,
    speech: &ChatTokenizer,
) -> Result<String> {
    let tokens = &tokens[..tokens.len() - usize::from(ended && !tokens.is_empty())];
    let mut text = speech.tokenizer.decode(tokens, SkipSpecialTokens::No)?;
    let unknown =
        tokens.iter().filter(|&&token| speech.tokenizer.id_to_token(token).is_none()).count();
    text.extend(std::iter::repeat_n('\u{fffd}', unknown)); // what the tokenizer has no word for
    Ok(text)
}

/// The first of the answers' scores that is no number, in words.
pub fn non_finite_reward_message(answers: &[ScoredCompletion]) -> Option<String> {
    let (scores, texts): (Vec<f64>, Vec<String>) =
        answers.iter().map(|answer| (answer.reward, answer.text.clone())).unzip();
    non_finite_message(&scores, &texts)
}

/// The figures of these answers to `questions`.
pub fn compute_metrics(
    questions: &[PromptExample],
    answers: &[ScoredCompletion],
) -> PpoEvalMetrics {
    let n = answers.len();
    let mean = |of: &dyn Fn(&ScoredCompletion) -> f64| {
        answers.iter().map(of).sum::<f64>() / n.max(1) as f64
    };
    let known = questions.iter().any(|one| !one.example.completion.is_empty());
    let share = |right: &dyn Fn(&ScoredCompletion, &str) -> bool| {
        let each = answers.iter().zip(questions);
        let right = each.filter(|(answer, question)| right(answer, &question.example.completion));
        known.then(|| right.count() as f64 / n.max(1) as f64)
    };
    PpoEvalMetrics {
        n,
        reward_mean: mean(&|answer| answer.reward),
        exact_match: share(&|answer, wanted| {
            answer.terminated && exact_match(&answer.text, wanted)
        }),
        relaxed_match: share(&|answer, wanted| relaxed_match(&answer.text, wanted)),
        length_mean: mean(&|answer| answer.n_tokens as f64),
        eos_rate: mean(&|answer| f64::from(u8::from(answer.terminated))),
    }
}
