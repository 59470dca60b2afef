//! 10.2 Labeled completions in tokens: the chosen and the rejected completion of a prompt, or, for
//! KTO, single completions.
//!
//! ```text
//! completion = ids of its text ++ EOS          its log-probability is a sum over all of them
//! ```
//!
//! A chat template may write more for a completion than its text: reasoning, calls of tools, or
//! markers ([`sft::reply`]). The prompt is encoded once and shared, as in part 8's rollouts: no
//! token spans the boundary, and there is one BOS. A completion that does not fit is cut at its end
//! and then has no EOS, so that the model does not learn to stop there.

use std::collections::HashMap;
use std::fmt;

use anyhow::Result;
use datasets::{LabeledCompletion, Preference};
use experiment::terminal::printable;
use model_io::ChatMessage;
use modern::FinishReason;
use ppo::{RolloutGroup, SampledCompletion};
use sft::{ChatTokenizer, ReplyTokens};
use tensor_core::sha256;

/// Label of a completion.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Label {
    /// Preferred, or desirable.
    Chosen,
    /// Not preferred, or undesirable.
    Rejected,
}

/// Type of data, as TRL tells them apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PreferenceType {
    /// Pairs: `prompt`, `chosen` and `rejected`.
    Paired,
    /// Pairs, or single completions: `prompt`, `completion` and `label`.
    Unpaired,
}

/// Prompt with labeled completions, as messages.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PreferenceRow {
    /// Messages before the completion.
    pub prompt: Vec<ChatMessage>,
    /// Chosen and rejected completion of a pair, or one completion.
    pub completions: Vec<(Label, ChatMessage)>,
}

/// Prompt with labeled completions, as tokens.
#[derive(Debug, Clone, PartialEq)]
pub struct PreferenceExample {
    /// Prompt and completions.
    pub group: RolloutGroup,
    /// Label of each completion.
    pub labels: Vec<Label>,
    /// log π_ref of each completion, computed once before training; 0 for losses without a
    /// reference.
    pub ref_log_probs: Vec<f64>,
}

/// Examples to train on or to validate with.
#[derive(Debug, Clone, Default)]
pub struct PreferenceDataset {
    /// Labeled completions.
    pub examples: Vec<PreferenceExample>,
    /// For KTO, the prompt of each example with the completions of another prompt. The mean of
    /// their log-ratios estimates KL(π ‖ π_ref); their labels have no meaning.
    pub mismatched: Vec<PreferenceExample>,
}

/// Counts of rows that exceed the context.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TokenizationCounts {
    /// Rows with a completion that was cut at its end.
    pub n_truncated: usize,
    /// Rows dropped because their completions are equal, once they are cut.
    pub n_identical: usize,
    /// Rows dropped because their prompt leaves no room for a completion.
    pub n_skipped: usize,
    /// Beginning of the prompt of the first row that was dropped.
    pub first_dropped: Option<String>,
}

impl TokenizationCounts {
    /// Number of rows that were dropped.
    pub fn n_dropped(&self) -> usize {
        self.n_identical + self.n_skipped
    }
}

impl fmt::Display for TokenizationCounts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { n_truncated, n_identical, n_skipped, first_dropped } = self;
        write!(
            f,
            "{n_truncated} rows have a completion that was cut at the end of the context; dropped: \
             {n_identical} whose completions are then equal, {n_skipped} whose prompt fills the \
             context"
        )?;
        match first_dropped {
            Some(prompt) => write!(f, "; the first has the prompt {prompt:?}"),
            None => Ok(()),
        }
    }
}

impl From<Preference> for PreferenceRow {
    fn from(preference: Preference) -> Self {
        let (chosen, rejected) = (preference.chosen_message(), preference.rejected_message());
        let completions = vec![(Label::Chosen, chosen), (Label::Rejected, rejected)];
        Self { prompt: preference.prompt, completions }
    }
}

impl From<LabeledCompletion> for PreferenceRow {
    fn from(LabeledCompletion { prompt, completion, is_desirable }: LabeledCompletion) -> Self {
        let label = if is_desirable { Label::Chosen } else { Label::Rejected };
        Self { prompt, completions: vec![(label, completion)] }
    }
}

impl PreferenceExample {
    /// Example of a prompt with completions and their labels, with log π_ref = 0.
    pub fn new(prompt: Vec<u32>, completions: Vec<(Label, SampledCompletion)>) -> Self {
        let (labels, completions): (Vec<_>, Vec<_>) = completions.into_iter().unzip();
        let ref_log_probs = vec![0.; labels.len()];
        Self { group: RolloutGroup { prompt, completions }, labels, ref_log_probs }
    }

    /// Number of tokens of the prompt and of all completions.
    pub fn n_tokens(&self) -> usize {
        self.group.prompt.len() + self.group.n_tokens()
    }
}

/// Tokenizes `rows` for a model with a context of `context_len` tokens.
///
/// # Errors
/// When the chat template rejects a conversation.
pub fn tokenize(
    rows: &[PreferenceRow],
    chat_tokenizer: &ChatTokenizer,
    context_len: usize,
) -> Result<(Vec<PreferenceExample>, TokenizationCounts)> {
    let (mut examples, mut counts) = (Vec::new(), TokenizationCounts::default());
    for PreferenceRow { prompt: messages, completions } in rows {
        let (prompt, replies) = encode_replies(messages, completions, chat_tokenizer)?;
        let room = context_len.saturating_sub(prompt.len());
        let mut tokenized = Vec::with_capacity(completions.len());
        for ((label, _), mut tokens) in completions.iter().zip(replies) {
            let is_cut = cut_to_room(&mut tokens, room, FinishReason::Stop);
            tokenized.push((*label, completion(tokens, is_cut)));
        }
        let is_identical = matches!(&tokenized[..], [(_, a), (_, b)] if a.tokens == b.tokens);
        if room == 0 || is_identical {
            counts.n_skipped += usize::from(room == 0);
            counts.n_identical += usize::from(room > 0);
            counts.first_dropped.get_or_insert_with(|| beginning_of(messages));
            continue;
        }
        counts.n_truncated += usize::from(tokenized.iter().any(|(_, c)| !c.terminated()));
        examples.push(PreferenceExample::new(prompt, tokenized));
    }
    Ok((examples, counts))
}

/// Token ids of a prompt, and those of each completion after it. Where the template begins one
/// completion sooner than another, the prompt is what is common to both.
fn encode_replies(
    prompt: &[ChatMessage],
    completions: &[(Label, ChatMessage)],
    chat_tokenizer: &ChatTokenizer,
) -> Result<(Vec<u32>, Vec<Vec<u32>>)> {
    let encode = |(_, reply): &(Label, ChatMessage)| chat_tokenizer.encode_reply(prompt, reply);
    let replies = completions.iter().map(encode).collect::<Result<Vec<ReplyTokens>>>()?;
    let Some(first) = replies.first() else {
        return Ok((chat_tokenizer.encode_prompt(prompt)?, Vec::new()));
    };
    let n_shared = |reply: &ReplyTokens| {
        first.prompt.iter().zip(&reply.prompt).take_while(|(a, b)| a == b).count()
    };
    let n = replies.iter().map(n_shared).min().unwrap_or(first.prompt.len());
    let shared = first.prompt[..n].to_vec();
    let rest = |reply: ReplyTokens| [&reply.prompt[n..], &reply.tokens].concat();
    Ok((shared, replies.into_iter().map(rest).collect()))
}

/// For KTO: the prompt of each example with all completions of an example that has another prompt,
/// each cut to what the prompt leaves of `context_len`, as [`tokenize`] cuts them. `None` if all
/// prompts are equal.
///
/// With the examples of one prompt side by side, completions move on by as many examples as the
/// most frequent prompt has: (x₁, y₁), .., (xₙ, yₙ) becomes (x₁, yₙ), (x₂, y₁), .., (xₙ, yₙ₋₁) if
/// all prompts differ. So the mismatched completions are the matched ones, each once, as in TRL,
/// whatever their labels, unless one prompt has more than half of the examples.
pub fn mismatched(
    examples: &[PreferenceExample],
    context_len: usize,
) -> Option<Vec<PreferenceExample>> {
    let n = examples.len();
    let mut of_prompt: HashMap<&[u32], (usize, usize)> = HashMap::new(); // (first, number)
    for (i, example) in examples.iter().enumerate() {
        of_prompt.entry(&example.group.prompt).or_insert((i, 0)).1 += 1;
    }
    let shift = of_prompt.values().map(|&(_, number)| number).max()?;
    let mut order: Vec<usize> = (0..n).collect();
    order.sort_by_key(|&i| of_prompt[&examples[i].group.prompt[..]].0);
    let mut mismatched = vec![None; n];
    for (at, &i) in order.iter().enumerate() {
        let prompt = &examples[i].group.prompt;
        let mut others = (shift..shift + n).map(|back| &examples[order[(at + 2 * n - back) % n]]);
        let other = others.find(|other| other.group.prompt != *prompt)?;
        mismatched[i] = Some(with_completions_of(prompt, other, context_len));
    }
    mismatched.into_iter().collect()
}

/// `prompt` with the completions of `other`, which are cut to the context.
fn with_completions_of(
    prompt: &[u32],
    other: &PreferenceExample,
    context_len: usize,
) -> PreferenceExample {
    let room = context_len.saturating_sub(prompt.len());
    let cut = |(&label, whole): (&Label, &SampledCompletion)| {
        let mut tokens = whole.tokens.clone();
        let is_cut = cut_to_room(&mut tokens, room, whole.finish_reason);
        (label, completion(tokens, is_cut))
    };
    let completions = other.labels.iter().zip(&other.group.completions).map(cut).collect();
    PreferenceExample::new(prompt.to_vec(), completions)
}

/// Cuts the `tokens` of a completion to the `room` that its prompt leaves, and returns true if it
/// is cut, now or before. Nothing follows EOS, so the model does not read it: it may lie beyond the
/// context.
fn cut_to_room(tokens: &mut Vec<u32>, room: usize, finish_reason: FinishReason) -> bool {
    let has_eos = finish_reason == FinishReason::Stop;
    let fits = tokens.len() <= room + usize::from(has_eos);
    tokens.truncate(if fits { tokens.len() } else { room });
    !(fits && has_eos)
}

/// SHA-256 of the tokens and labels of `examples`: a checkpoint is not resumed with other data.
pub fn examples_sha256<'a>(examples: impl Iterator<Item = &'a PreferenceExample>) -> String {
    let numbers = examples.flat_map(|PreferenceExample { group, labels, .. }| {
        let completions = labels.iter().zip(&group.completions).flat_map(|(label, completion)| {
            let header = [*label as u32, completion.tokens.len() as u32];
            header.into_iter().chain(completion.tokens.iter().copied())
        });
        let header = [group.prompt.len() as u32, labels.len() as u32];
        header.into_iter().chain(group.prompt.iter().copied()).chain(completions)
    });
    sha256::hash_u32s(numbers)
}

/// Completion of a file, as if it had been sampled.
fn completion(tokens: Vec<u32>, is_cut: bool) -> SampledCompletion {
    let finish_reason = if is_cut { FinishReason::ContextFull } else { FinishReason::Stop };
    SampledCompletion { tokens, log_probs: Vec::new(), allowed_tokens: Vec::new(), finish_reason }
}

/// The first 40 characters of the last message of a prompt.
fn beginning_of(prompt: &[ChatMessage]) -> String {
    let text = prompt.last().map_or("", |message| &message.content);
    printable(&text.chars().take(40).collect::<String>())
}
