//! 8.5 LLM as a judge: a chat model reads the prompt and the completion, and answers with a score
//! (Zheng et al., <https://arxiv.org/abs/2306.05685>).
//!
//! ```text
//! question   a text in which {prompt}, {completion} and {answer} are replaced
//! reply      ... Score: 7        the last one counts; 0 to 10
//! reward     0.7                 0 for a reply without a score, or for a question that is longer
//!                                than the judge's context, with a note in completions.jsonl
//! ```
//! The score of a judge that thinks follows `</think>`. A reply that is cut at its length limit has
//! no score: what it says of one is not its last word.
//!
//! A judge is as easily pleased as a reward model: it prefers long and confident answers, and a
//! policy can learn to talk to it. Read completions while the reward rises.

use std::path::Path;
use std::sync::LazyLock;

use anyhow::{Context, Result, ensure};
use candle_core::Device;
use experiment::train_state::parameters_sha256;
use model_io::{ChatMessage, ChatVariables, LoadMode};
use modern::flags::variables_of_run;
use modern::{Checkpoint, FinishReason, GptModern};
use regex::{Captures, Regex};
use sft::chat_tokenizer::CompletionText;
use sft::finetuned::resolve_model_path;
use sft::{ChatTokenizer, one_line};
use tensor_core::regular_file;
use tensor_core::sha256::hash_bytes;

use crate::reward_fn::{NamedRewardFn, RewardInput, RewardPart, RewardParts};
use crate::scoring_counter::ScoringCounter;

const DEFAULT_PROMPT: &str = include_str!("judge_prompt.txt");
/// Highest score.
const MAX_SCORE: f64 = 10.;
/// Longest reply, in tokens: room for a reason before the score.
const MAX_REPLY: usize = 256;
/// End of what a judge thinks before it answers.
const END_OF_THINKING: &str = "</think>";
/// Replies generated at a time.
const BATCH_SIZE: usize = 16;
/// Largest file of a question.
const MAX_PROMPT_FILE: u64 = 1 << 20;

static PLACEHOLDER: LazyLock<Regex> =
    LazyLock::new(|| Regex::new(r"\{(prompt|completion|answer)\}").expect("the pattern is valid"));
static SCORE: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new(r"(?i)\bscore\b[\s:*=]*(-?[0-9]+(?:\.[0-9]+)?)").expect("the pattern is valid")
});

/// Chat model that scores completions.
pub struct LlmJudge {
    model: GptModern,
    chat_tokenizer: ChatTokenizer,
    /// Question with placeholders.
    question: String,
    /// Name that identifies the judge on resume.
    name: String,
}

impl LlmJudge {
    /// Judge with the chat model `model` and the question of `file`, by default a built-in one. Its
    /// chat template has the date of the judge's own run, else that of `variables`, and the
    /// arguments of both.
    ///
    /// # Errors
    /// When there is no such model, the file cannot be read, or it does not mention the completion.
    pub fn open(
        model: &str,
        file: Option<&Path>,
        variables: ChatVariables,
        device: &Device,
    ) -> Result<Self> {
        let question = match file {
            None => DEFAULT_PROMPT.to_string(),
            Some(path) => regular_file::read_to_string(path, MAX_PROMPT_FILE)?,
        };
        ensure_asks_about_completion(&question)?;
        let own = variables_of_run(Path::new(model))?;
        let date = own.date.or(variables.date);
        let variables = ChatVariables { date, ..variables }.with_defaults(&own);
        let path = resolve_model_path(model)?;
        let checkpoint = Checkpoint::open(&path, LoadMode::Inference, device)
            .with_context(|| format!("opening the judge {model}"))?;
        let mut checkpoint = checkpoint.with_chat_variables(&variables);
        let weights = parameters_sha256(&checkpoint.parameters)?;
        let chat_tokenizer = ChatTokenizer::from_checkpoint(&mut checkpoint, None)?;
        Self::new(checkpoint.model, chat_tokenizer, question, &weights)
    }

    /// Judge from its parts; `weights` identifies those of `model`.
    ///
    /// # Errors
    /// When the question does not mention the completion.
    pub fn new(
        model: GptModern,
        chat_tokenizer: ChatTokenizer,
        question: String,
        weights: &str,
    ) -> Result<Self> {
        ensure_asks_about_completion(&question)?;
        let name = format!("judge {weights} {}", hash_bytes(question.as_bytes()));
        Ok(Self { model, chat_tokenizer, question, name })
    }

    /// Reward function of the judge. Its part has a note for each completion without a score;
    /// `counter` counts those whose question is longer than the judge's context, and the scores:
    /// as long as no reply of any rank has had one, a batch without a score is an error.
    pub fn reward_fn(self, counter: ScoringCounter) -> NamedRewardFn {
        let name = self.name.clone();
        let parts = RewardParts::default();
        let last_parts = parts.clone();
        let scored = counter.clone();
        let reward_fn = move |inputs: &[RewardInput<'_>], _: &mut tensor_core::Rng| {
            let replies = self.replies(inputs)?;
            let scores: Vec<Option<f64>> =
                replies.iter().map(|reply| score(reply.as_ref()?)).collect();
            let n_replies = replies.iter().flatten().count();
            let n_scores = scores.iter().flatten().count();
            scored.add(inputs.len(), inputs.len() - n_replies);
            scored.add_replies(n_replies, n_replies - n_scores);
            if let Some(first) = replies.iter().flatten().next() {
                scored.ensure_scored(|| {
                    format!(
                        "the judge gave none of {} completions a score; it replied {:?}: {}",
                        inputs.len(),
                        one_line(&first.text),
                        advice(first)
                    )
                })?;
            }
            let rewards: Vec<f64> =
                scores.iter().map(|score| score.unwrap_or(0.) / MAX_SCORE).collect();
            let notes = scores.iter().zip(&replies);
            let notes = notes.map(|(&score, reply)| note(score, reply.as_ref())).collect();
            let part = RewardPart { name: "judge".into(), rewards: rewards.clone(), notes };
            last_parts.0.replace(vec![part]);
            Ok(rewards)
        };
        NamedRewardFn {
            parts,
            counter,
            max_reward: Some(1.),
            ..NamedRewardFn::new(Box::new(reward_fn), name)
        }
    }

    /// Replies of the judge, without sampling; `None` to a question that its context cannot hold.
    fn replies(&self, inputs: &[RewardInput<'_>]) -> Result<Vec<Option<CompletionText>>> {
        let context_len = self.model.config().context_len;
        let (mut prompts, mut fits) = (Vec::new(), Vec::with_capacity(inputs.len()));
        for input in inputs {
            self.ensure_has_answer(input)?;
            let question = vec![ChatMessage::user(fill(&self.question, input))];
            let ids = self.chat_tokenizer.encode_prompt(&question)?;
            fits.push(ids.len() < context_len);
            prompts.extend((ids.len() < context_len).then_some(ids));
        }
        let (model, tokenizer) = (&self.model, &self.chat_tokenizer);
        let replies = tokenizer.generate_greedy(model, &prompts, MAX_REPLY, BATCH_SIZE)?;
        let mut replies = replies.into_iter();
        Ok(fits.into_iter().map(|fits| fits.then(|| replies.next()).flatten()).collect())
    }

    /// Checks that the row of `input` has an answer, if the question shows it.
    fn ensure_has_answer(&self, input: &RewardInput<'_>) -> Result<()> {
        let prompt = input.example.prompt.last().map_or("", |message| &message.content);
        ensure!(
            !self.question.contains("{answer}") || !input.example.completion.trim().is_empty(),
            "the judge's prompt (--judge-prompt) shows the {{answer}}, and the row of the prompt \
             {:?} has none",
            one_line(prompt)
        );
        Ok(())
    }
}

/// Score of a reply; `None` if it says none, or was cut.
fn score(reply: &CompletionText) -> Option<f64> {
    parse_score(&reply.text).filter(|_| !is_cut(reply))
}

fn is_cut(reply: &CompletionText) -> bool {
    reply.finish_reason != FinishReason::Stop
}

/// Advice about a `reply` without a score.
fn advice(reply: &CompletionText) -> &'static str {
    match is_cut(reply) {
        true => {
            "the reply was cut at its length limit: ask for less in --judge-prompt, or, of a judge \
             that thinks, --judge-template-arg enable_thinking=false"
        }
        false => "does its prompt ask for \"Score: N\"?",
    }
}

/// Note on a completion with this `score` and `reply`; empty if there is a score.
fn note(score: Option<f64>, reply: Option<&CompletionText>) -> String {
    match (score, reply) {
        (Some(_), _) => String::new(),
        (None, Some(reply)) => {
            let cut = if is_cut(reply) { ", cut at its length limit" } else { "" };
            format!("no score in {:?}{cut}", one_line(&reply.text))
        }
        (None, None) => "the question is longer than the judge's context".to_string(),
    }
}

fn ensure_asks_about_completion(question: &str) -> Result<()> {
    ensure!(
        question.contains("{completion}"),
        "the judge's prompt (--judge-prompt) does not contain {{completion}}"
    );
    Ok(())
}

/// Question about a completion. Placeholders in the texts themselves stay as they are.
pub(crate) fn fill(question: &str, input: &RewardInput<'_>) -> String {
    let messages = &input.example.prompt;
    let prompt = match &messages[..] {
        [message] => message.content.clone(),
        messages => {
            let lines =
                messages.iter().map(|message| format!("{}: {}", message.role, message.content));
            lines.collect::<Vec<_>>().join("\n")
        }
    };
    let value = |captures: &Captures<'_>| match &captures[1] {
        "prompt" => prompt.clone(),
        "completion" => input.completion.to_string(),
        _ => input.example.completion.clone(),
    };
    PLACEHOLDER.replace_all(question, value).into_owned()
}

/// Last score of a reply, after its `</think>` if there is one, if it is from 0 to 10.
///
/// # Examples
/// ```
/// use ppo::judge::parse_score;
/// assert_eq!(parse_score("It is right, but long.\n**Score:** 8/10"), Some(8.));
/// assert_eq!(parse_score("Is it Score: 2?</think>Score: 9"), Some(9.));
/// assert_eq!(parse_score("I like it."), None);
/// assert_eq!(parse_score("Score: 11"), None);
/// ```
pub fn parse_score(reply: &str) -> Option<f64> {
    let answer = reply.rsplit_once(END_OF_THINKING).map_or(reply, |(_, answer)| answer);
    let score: f64 = SCORE.captures_iter(answer).last()?[1].parse().ok()?;
    Some(score).filter(|score| (0. ..=MAX_SCORE).contains(score))
}
