//! 6.4 Evaluation: how likely the wanted answers are to a model, and how well its own agree with them.
//!
//! Its own are written greedily and in batches, so the same model always gets the same figures. That it ends them itself is
//! counted too: a model whose end was masked away (PAD = EOS, say) answers and then rambles on.

use anyhow::{Result, ensure};
use candle_core::Device;
use modern::{FinishReason, GptModern};
use serde::Serialize;

use crate::chat_tokenizer::CompletionText;
use crate::metrics::{exact_match, relaxed_match, rouge_l, token_f1};
use crate::tokenized_example::TokenizedDataset;
use crate::{ChatTokenizer, Example, SftBatch, TokenizedExample, tokenize};

/// How well a model answers.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct SftEvalMetrics {
    /// Examples.
    pub n: usize,
    /// Those that were left out, as their prompt fills the model's context.
    pub n_skipped: usize,
    /// Of the n, those of whose wanted answer the loss sees only the beginning, as the context ends before it.
    pub n_truncated: usize,
    /// Mean cross-entropy of the wanted answers and their ends, in nats per token.
    pub loss: f64,
    /// exp(loss)
    pub perplexity: f64,
    /// Share of answers that are the wanted one and ended themselves.
    pub exact_match: f64,
    /// The same with case, punctuation and what comes of running on forgiven.
    pub relaxed_match: f64,
    /// Mean token F1.
    pub token_f1: f64,
    /// Mean ROUGE-L.
    pub rouge_l: f64,
    /// Share of answers that the model ended itself.
    pub eos_rate: f64,
}

/// How much is read and written at a time.
#[derive(Debug, Clone, Copy)]
pub struct GenerationEvalConfig {
    /// Examples at a time.
    pub batch_size: usize,
    /// Longest answer, in tokens.
    pub max_new_tokens: usize,
}

/// The figures of `model`, an inference twin, on `examples`, and its answers to them. Examples whose prompt fills the context
/// are left out and counted.
///
/// # Errors
/// When no example is left.
pub fn evaluate(
    model: &GptModern,
    examples: &[Example],
    speech: &ChatTokenizer,
    extent: GenerationEvalConfig,
) -> Result<(SftEvalMetrics, Vec<CompletionText>)> {
    let context = model.config().context_len;
    let mut fitting = Vec::new();
    for example in examples {
        let prompt = speech.encode_prompt(&example.prompt)?;
        if prompt.len() < context {
            fitting.push((example, prompt));
        }
    }
    ensure!(!fitting.is_empty(), "there is no example that fits into {context} tokens");
    let wanted: Vec<Example> = fitting.iter().map(|(example, _)| (*example).clone()).collect();
    let TokenizedDataset { examples: tokens, n_truncated: cut, .. } =
        tokenize(&wanted, speech, context)?;
    let loss = mean_loss(model, &tokens, extent.batch_size, model.device())?;
    let prompts: Vec<Vec<u32>> = fitting.into_iter().map(|(_, prompt)| prompt).collect();
    let answers =
        speech.generate_greedy(model, &prompts, extent.max_new_tokens, extent.batch_size)?;
    let n = wanted.len();
    let mean = |score: &dyn Fn(&str, &str) -> f64| {
        let scores = answers.iter().zip(&wanted).map(|(a, w)| score(&a.text, &w.completion));
        scores.sum::<f64>() / n as f64
    };
    let ended = |answer: &&CompletionText| answer.finish_reason == FinishReason::Stop;
    let exact = answers
        .iter()
        .zip(&wanted)
        .filter(|(answer, wanted)| ended(answer) && exact_match(&answer.text, &wanted.completion));
    let found = SftEvalMetrics {
        n,
        n_skipped: examples.len() - n,
        n_truncated: cut,
        loss,
        perplexity: loss.exp(),
        exact_match: exact.count() as f64 / n as f64,
        relaxed_match: mean(&|a, w| f64::from(u8::from(relaxed_match(a, w)))),
        token_f1: mean(&token_f1),
        rouge_l: mean(&rouge_l),
        eos_rate: answers.iter().filter(ended).count() as f64 / n as f64,
    };
    Ok((found, answers))
}

/// The mean loss over all tokens that are learned, whatever batches they share.
///
/// # Errors
/// When nothing is learned, or an example is longer than the model's context.
pub fn mean_loss(
    model: &GptModern,
    examples: &[TokenizedExample],
    batch_size: usize,
    device: &Device,
) -> Result<f64> {
    let mut sorted: Vec<&TokenizedExample> = examples.iter().collect();
    sorted.sort_by_key(|example| example.ids.len());
    let (mut nats, mut n) = (0., 0);
    for examples in sorted.chunks(batch_size.max(1)) {
        let examples: Vec<TokenizedExample> =
            examples.iter().map(|&example| example.clone()).collect();
        let batch = SftBatch::padded(&examples, device)?;
        nats += f64::from(batch.loss(model)?.to_scalar::<f32>()?) * batch.n_targets() as f64;
        n += batch.n_targets();
    }
    ensure!(n > 0, "there is no token to predict");
    Ok(nats / n as f64)
}
