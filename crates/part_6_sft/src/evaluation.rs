//! 6.4 Evaluation: loss of the expected completions, and agreement of a model's completions with
//! them.
//!
//! Decoding is greedy, so the same model always gets the same metrics. The EOS rate is measured
//! too: a model that was trained with EOS masked (because PAD = EOS, say) answers, and then does
//! not stop.

use anyhow::{Result, ensure};
use candle_core::Device;
use datasets::Example;
use experiment::{RunLog, Score, Target, TrainState};
use modern::{FinishReason, GptModern};
use serde::Serialize;
use serde_json::json;

use crate::chat_tokenizer::{CompletionText, one_line};
use crate::metrics::{exact_match, relaxed_match, rouge_l, rouge_n, token_f1};
use crate::tokenized_dataset::{TokenizedDataset, max_inputs};
use crate::{ChatTokenizer, ModelSaver, SftBatch, TokenizedExample, tokenize};

/// Evaluation metrics of a model. Those of its completions are NaN where no example has a prompt.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct SftEvalMetrics {
    /// Number of evaluated examples.
    pub n: usize,
    /// Number of skipped examples: their prompt fills the model's context.
    pub n_skipped: usize,
    /// Number of the n examples whose expected completion is truncated in the loss, as it does not
    /// fit the context.
    pub n_truncated: usize,
    /// Mean cross-entropy of the expected completions and their EOS, in nats per token.
    pub loss: f64,
    /// Perplexity, exp(loss).
    pub perplexity: f64,
    /// Share of completions that equal the expected one and end with a stop token.
    pub exact_match: f64,
    /// Share of completions that match apart from case and punctuation, with or without a stop
    /// token.
    pub relaxed_match: f64,
    /// Mean token F1.
    pub token_f1: f64,
    /// Mean ROUGE-1, which is the token F1.
    pub rouge_1: f64,
    /// Mean ROUGE-2.
    pub rouge_2: f64,
    /// Mean ROUGE-L.
    pub rouge_l: f64,
    /// Share of completions that end with a stop token.
    pub eos_rate: f64,
}

/// Batch size and lengths of an evaluation.
#[derive(Debug, Clone, Copy)]
pub struct GenerationEvalConfig {
    /// Examples per batch.
    pub batch_size: usize,
    /// Maximum completion length in tokens.
    pub max_new_tokens: usize,
    /// Maximum length of an example in tokens, if it is less than the context.
    pub max_length: Option<usize>,
}

/// Metrics of `model`, built for inference, on `examples`, and its completions. Examples whose
/// prompt fills the context are skipped and counted.
///
/// # Errors
/// When no example is left.
pub fn evaluate(
    model: &GptModern,
    examples: &[Example],
    chat_tokenizer: &ChatTokenizer,
    eval_config: GenerationEvalConfig,
) -> Result<(SftEvalMetrics, Vec<CompletionText>)> {
    let context_len = max_inputs(model.config().context_len, eval_config.max_length);
    let mut fitting = Vec::new();
    for example in examples {
        let prompt = match example.prompt.is_empty() {
            true => None, // a text, of which the loss is all there is to measure
            false => Some(chat_tokenizer.encode_prompt(&example.prompt)?),
        };
        if prompt.as_ref().is_none_or(|prompt| prompt.len() < context_len) {
            fitting.push((example, prompt));
        }
    }
    ensure!(!fitting.is_empty(), "no example fits into {context_len} tokens");
    let evaluated: Vec<Example> = fitting.iter().map(|(example, _)| (*example).clone()).collect();
    let TokenizedDataset { examples: tokenized, n_truncated, .. } =
        tokenize(&evaluated, chat_tokenizer, context_len)?;
    let loss = mean_loss(model, &tokenized, eval_config.batch_size, model.device())?;
    let (with_prompt, prompts): (Vec<&Example>, Vec<Vec<u32>>) =
        fitting.into_iter().filter_map(|(example, prompt)| Some((example, prompt?))).unzip();
    let completions = chat_tokenizer.generate_greedy(
        model,
        &prompts,
        eval_config.max_new_tokens,
        eval_config.batch_size,
    )?;
    let expected = with_prompt
        .iter()
        .map(|example| chat_tokenizer.reply_text(&example.prompt, &example.completion_message()))
        .collect::<Result<Vec<String>>>()?;
    let n = evaluated.len();
    let n_completions = completions.len() as f64;
    let pairs = || completions.iter().zip(&expected);
    let mean = |metric: &dyn Fn(&str, &str) -> f64| {
        pairs().map(|(c, expected)| metric(&c.text, expected)).sum::<f64>() / n_completions
    };
    let stopped = |c: &&CompletionText| c.finish_reason == FinishReason::Stop;
    let exact = pairs().filter(|(c, expected)| stopped(c) && exact_match(&c.text, expected));
    let metrics = SftEvalMetrics {
        n,
        n_skipped: examples.len() - n,
        n_truncated,
        loss,
        perplexity: loss.exp(),
        exact_match: exact.count() as f64 / n_completions,
        relaxed_match: mean(&|text, expected| f64::from(u8::from(relaxed_match(text, expected)))),
        token_f1: mean(&token_f1),
        rouge_1: mean(&token_f1),
        rouge_2: mean(&|text, expected| rouge_n(text, expected, 2)),
        rouge_l: mean(&rouge_l),
        eos_rate: completions.iter().filter(stopped).count() as f64 / n_completions,
    };
    Ok((metrics, completions))
}

/// Mean loss over all target tokens, independent of the batch size.
///
/// # Errors
/// When there is no target token, or an example is longer than the model's context.
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
    ensure!(n > 0, "the examples have no target token");
    Ok(nats / n as f64)
}

/// Regular evaluation on the validation examples.
#[derive(Debug)]
pub struct SftValidator<'a> {
    /// Validation examples. They may end the run, so results are reported on other examples.
    pub examples: &'a [Example],
    /// Chat tokenizer.
    pub chat_tokenizer: &'a ChatTokenizer,
    /// Batch size and completion length.
    pub eval_config: GenerationEvalConfig,
    /// Steps between validations; 0 validates only before and after training.
    pub interval: usize,
    /// Exact match at which the run ends.
    pub target_exact_match: Option<f64>,
    /// Where the best model is saved, if it is.
    pub model_saver: Option<&'a ModelSaver>,
}

impl SftValidator<'_> {
    /// Evaluates `model`, an inference model of `state`, and saves it if it is the best so far or
    /// reaches the target.
    ///
    /// # Errors
    /// When a file cannot be written.
    pub fn run(&self, model: &GptModern, state: &mut TrainState, log: &mut RunLog) -> Result<()> {
        let (metrics, _) =
            log.suspend(|| evaluate(model, self.examples, self.chat_tokenizer, self.eval_config))?;
        let SftEvalMetrics { loss, exact_match, token_f1, eos_rate, .. } = metrics;
        let mut summary = format!(", {} tokens: validation loss {loss:.4}", log.state.n_tokens);
        if !exact_match.is_nan() {
            summary += &format!(
                ", exact match {exact_match:.3}, token F1 {token_f1:.3}, EOS rate {eos_rate:.3}"
            );
        }
        let row = json!({
            "val_loss": loss, "val_exact_match": exact_match, "val_token_f1": token_f1,
            "val_rouge_1": metrics.rouge_1, "val_rouge_2": metrics.rouge_2,
            "val_rouge_l": metrics.rouge_l, "val_eos_rate": eos_rate,
        });
        log.validation(state.progress.step, &summary, row)?;
        let target = Target::of(exact_match, self.target_exact_match);
        if state.progress.record_validation(Score::Loss(loss), target) {
            self.model_saver.map_or(Ok(()), |saver| saver.save(&state.parameters))?;
        }
        Ok(())
    }
}

/// Prints the first few completions of a model to `examples`, `before` and `after` training, and
/// the expected ones.
pub fn print_before_and_after<'a>(
    examples: impl Iterator<Item = &'a Example>,
    before: impl Iterator<Item = &'a str>,
    after: impl Iterator<Item = &'a str>,
) {
    const N: usize = 6;
    println!("\n{:42}  {:>12}  {:>12}  {:>8}", "test question", "before", "after", "expected");
    for ((Example { prompt, completion, .. }, before), after) in
        examples.zip(before).zip(after).take(N)
    {
        let [before, after] =
            [before, after].map(|text| -> String { one_line(text).chars().take(12).collect() });
        let [prompt, expected] = [&prompt[0].content, completion].map(|text| one_line(text));
        println!("{prompt:42}  {before:>12}  {after:>12}  {expected:>8}");
    }
    println!();
}
