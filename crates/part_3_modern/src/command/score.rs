//! The command `score`: log-probabilities of the tokens of a text file, and its perplexity.

use std::io::{BufWriter, Write};

use anyhow::{Context, Result};
use datasets::documents::text_pieces;
use experiment::progress::ProgressLine;
use model_io::{AddSpecialTokens, ParseSpecial, SkipSpecialTokens};
use serde::Serialize;
use tensor_core::output::Stdout;
use tensor_core::regular_file;

use super::arguments::ScoreArgs;
use crate::Checkpoint;
use crate::perplexity::text_log_probs;

/// Limit of a text file, which is read as a whole.
const MAX_BYTES: u64 = 1 << 32;

/// Report of `--json`.
#[derive(Serialize)]
struct ScoreReport<'a> {
    token_ids: &'a [u32],
    logprobs: &'a [f32],
    perplexity: f64,
}

pub(super) fn run(args: &ScoreArgs) -> Result<()> {
    let device = args.compute.open_device()?;
    let text = regular_file::read_to_string(&args.text_file, MAX_BYTES)?;
    let checkpoint = args.model.open_for_inference(&device)?;
    let tokens = encode(&checkpoint, &text)?;
    let Checkpoint { model, tokenizer, .. } = checkpoint;
    let stride = args.stride.map_or(model.config().context_len.div_ceil(2), |stride| stride.get());
    let mut progress = ProgressLine::new(tokens.len().saturating_sub(1))?;
    let (mut n_scored, mut sum) = (0, 0.);
    let scored = text_log_probs(&model, &tokens, stride, |log_probs| {
        n_scored += log_probs.len();
        sum += log_probs.iter().map(|&p| f64::from(p)).sum::<f64>();
        let perplexity = (-sum / n_scored as f64).exp();
        progress.update(n_scored, &format!("perplexity {perplexity:.4}"), log_probs.len());
        Ok(())
    })?;
    drop(progress);
    let mut out = BufWriter::new(Stdout);
    if args.json {
        let (logprobs, perplexity) = (&scored.log_probs[..], scored.perplexity);
        serde_json::to_writer(&mut out, &ScoreReport { token_ids: &tokens, logprobs, perplexity })?;
        writeln!(out)?;
        return Ok(out.flush()?);
    }
    for (&token, log_prob) in tokens[1..].iter().zip(&scored.log_probs) {
        writeln!(out, "{log_prob:9.4}  {:?}", tokenizer.decode(&[token], SkipSpecialTokens::No)?)?;
    }
    writeln!(out, "perplexity {:.4} over {} tokens", scored.perplexity, scored.log_probs.len())?;
    Ok(out.flush()?)
}

/// Tokens of `text`, which is encoded in pieces: an encoding takes a hundred times the memory of
/// its text.
fn encode(checkpoint: &Checkpoint, text: &str) -> Result<Vec<u32>> {
    let Checkpoint { tokenizer, special_ids, .. } = checkpoint;
    let mut tokens = Vec::new();
    let mut pieces = text_pieces(text);
    let first = pieces.next().context("the text is empty")?;
    tokens.extend(tokenizer.encode(first, AddSpecialTokens::Yes, ParseSpecial::No)?);
    let mut pieces = pieces.peekable();
    // Some tokenizers append an end-of-text token.
    let ends_text = |last: &mut u32| special_ids.eos.contains(last);
    let eos = pieces.peek().and_then(|_| tokens.pop_if(ends_text));
    for piece in pieces {
        tokens.extend(tokenizer.encode(piece, AddSpecialTokens::No, ParseSpecial::No)?);
    }
    tokens.extend(eos);
    Ok(tokens)
}
