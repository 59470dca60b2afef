//! 10.6 Test-time preference optimization (TPO, <https://arxiv.org/abs/2501.12895>): the model
//! revises its answer, given the one that a judge likes best and the one that it likes least.
//!
//! ```text
//! round 0   n answers to the question                                  → scores
//! round t   n answers to: question, best answer so far,
//!           "I liked this less: <worst answer>. Write a better one."   → scores
//! the answer with the highest score of all rounds is given
//! ```
//!
//! What DPO would write into the weights stands in the prompt instead, for this question alone. A
//! model that cannot follow such a request gains nothing over as many independent answers, so that
//! is the comparison: best of n(t + 1).

use anyhow::{Result, ensure};
use model_io::ChatMessage;
use modern::GptModern;
use ppo::prompts::prompt_ids;
use ppo::{PromptExample, RewardFn, RolloutConfig, ScoredRollouts, rollout};
use sft::ChatTokenizer;
use tensor_core::Rng;

/// Request that follows the best answer; `{worst}` stands for the worst one.
pub const REVISION_REQUEST: &str = "I liked that better than this answer:\n\n{worst}\n\nWrite an \
    answer to my question that is better still. Reply with the answer alone.";

/// Prompts per rollout.
const PROMPTS_PER_ROLLOUT: usize = 8;

/// Answer with its score by the judge.
#[derive(Debug, Clone, PartialEq)]
pub struct ScoredAnswer {
    /// Text.
    pub text: String,
    /// Score by the judge.
    pub score: f64,
}

/// Answers to a question, those of all rounds so far.
#[derive(Debug, Clone)]
pub struct AnswerPool {
    /// The question, tokenized.
    pub question: PromptExample,
    /// Answers in the order in which they were sampled.
    pub answers: Vec<ScoredAnswer>,
}

impl AnswerPool {
    /// Pool without answers.
    pub fn new(question: PromptExample) -> Self {
        Self { question, answers: Vec::new() }
    }

    /// Conversation that asks for a better answer than the best so far; the question alone if
    /// nothing was answered, or all answers are equally good.
    pub fn revision(&self, request: &str) -> Vec<ChatMessage> {
        let mut messages = self.question.example.prompt.clone();
        if let (Some(best), Some(worst)) = (best_of(&self.answers), worst_of(&self.answers))
            && best.score > worst.score
        {
            messages.push(ChatMessage::assistant(&best.text));
            messages.push(ChatMessage::user(request.replace("{worst}", &worst.text)));
        }
        messages
    }
}

/// The answer that the judge likes best, the first of equals.
pub fn best_of(answers: &[ScoredAnswer]) -> Option<&ScoredAnswer> {
    answers.iter().rev().max_by(|a, b| a.score.total_cmp(&b.score))
}

/// The answer that it likes least, the first of equals.
pub fn worst_of(answers: &[ScoredAnswer]) -> Option<&ScoredAnswer> {
    answers.iter().min_by(|a, b| a.score.total_cmp(&b.score))
}

/// Model, sampling and judge of the rounds.
pub struct Reviser<'a> {
    /// Model, built for inference.
    pub model: &'a GptModern,
    /// Its tokenizer and chat template.
    pub chat_tokenizer: &'a ChatTokenizer,
    /// Sampling of n answers per round.
    pub rollout: RolloutConfig,
    /// The judge.
    pub judge: &'a mut RewardFn,
    /// Request for a better answer.
    pub request: &'a str,
}

impl Reviser<'_> {
    /// Adds n answers to each of `pools`, revisions of the best so far if there are answers, and
    /// returns the number of questions whose revision does not fit into the context: they get
    /// independent answers.
    ///
    /// # Errors
    /// When the judge fails, or a score is not finite.
    pub fn round(&mut self, pools: &mut [AnswerPool], rng: &mut Rng) -> Result<usize> {
        let max_prompt = self.model.config().context_len - self.rollout.max_new_tokens;
        let (mut prompts, mut n_too_long) = (Vec::new(), 0);
        for pool in &*pools {
            let mut prompt = self.chat_tokenizer.encode_prompt(&pool.revision(self.request))?;
            if prompt.len() > max_prompt {
                prompt = pool.question.prompt.clone();
                n_too_long += 1;
            }
            // The judge reads the answer after the question, not after the request.
            prompts.push(PromptExample { example: pool.question.example.clone(), prompt });
        }
        self.sample(&prompts, pools, rng)?;
        Ok(n_too_long)
    }

    /// Adds n independent answers to each of `pools`.
    ///
    /// # Errors
    /// Those of [`Self::round`].
    pub fn independent_round(&mut self, pools: &mut [AnswerPool], rng: &mut Rng) -> Result<()> {
        let questions: Vec<PromptExample> =
            pools.iter().map(|pool| pool.question.clone()).collect();
        self.sample(&questions, pools, rng)
    }

    /// Adds n answers to each of `prompts` to its pool.
    fn sample(
        &mut self,
        prompts: &[PromptExample],
        pools: &mut [AnswerPool],
        rng: &mut Rng,
    ) -> Result<()> {
        let chunks = prompts.chunks(PROMPTS_PER_ROLLOUT);
        for (prompts, pools) in chunks.zip(pools.chunks_mut(PROMPTS_PER_ROLLOUT)) {
            let groups = rollout(self.model, &prompt_ids(prompts), &self.rollout, rng)?;
            let ScoredRollouts { completion_texts, rewards, .. } =
                ScoredRollouts::new(groups, prompts, self.chat_tokenizer, self.judge, rng)?;
            ensure!(rewards.iter().all(|r| r.is_finite()), "a score of the judge is not finite");
            let mut answers = completion_texts
                .into_iter()
                .zip(rewards)
                .map(|(text, score)| ScoredAnswer { text, score });
            for pool in pools {
                pool.answers.extend(answers.by_ref().take(self.rollout.group_size));
            }
        }
        Ok(())
    }
}
