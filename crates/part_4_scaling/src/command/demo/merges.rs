//! The demo's first half: what merging learns from a text, what a sentence becomes, and how long our few lines take beside the crate
//! `tokenizers`.

use std::time::Instant;

use anyhow::Result;
use modern::{AddSpecialTokens, ParseSpecial};
use tiny_gpt::builtin_text::BuiltinText;

use crate::command::arguments::DemoArgs;
use crate::tokenizer_training::train_tokenizer;
use crate::{Bpe, Corpus};

pub(super) fn print_merges_demo(args: &DemoArgs) -> Result<()> {
    let pieces: Vec<String> = match &args.data {
        Some(path) => {
            Corpus::open(path)?.chunks().map(|piece| Ok(piece?.text)).collect::<Result<_>>()?
        }
        None => BuiltinText::English.text().lines().map(|line| format!("{line}\n")).collect(),
    };
    let text = pieces.concat();

    let (bpe, ours) = timed(|| Ok(Bpe::train(&text, args.vocab_size)))?;
    let shown = |ids: &[u32]| format!("{:?}", bpe.decode(ids));
    println!("The first merges of {} bytes of text:", text.len());
    for (a, b) in bpe.merges().into_iter().take(8) {
        println!("  {:>8} + {:<8} -> {}", shown(&[a]), shown(&[b]), shown(&[a, b]));
    }
    println!("\nThe beginning of the text, with more and more tokens:");
    let line: String = text.trim_start().chars().take(70).collect();
    let fewer = [261, 400, 1000].into_iter().filter(|&size| size < args.vocab_size);
    for size in fewer.chain([args.vocab_size]) {
        let bpe = Bpe::train(&text, size);
        let pieces: Vec<String> = bpe.encode(&line).iter().map(|&id| bpe.decode(&[id])).collect();
        println!("  {:>6}  {}", bpe.vocab_size(), pieces.join("|").replace('\n', "⏎"));
    }

    let (ids, our_encode) = timed(|| Ok(bpe.encode(&text)))?;
    let (theirs, their_train) = timed(|| train_tokenizer(pieces.iter(), args.vocab_size))?;
    let (their_ids, their_encode) =
        timed(|| theirs.encode(&text, AddSpecialTokens::No, ParseSpecial::No))?;
    let same = if ids == their_ids { "the same ids" } else { "DIFFERENT ids" };
    println!(
        "\n{} tokens, {:.2} bytes each",
        bpe.vocab_size(),
        text.len() as f64 / ids.len() as f64
    );
    println!("                    training   encoding");
    println!("these lines         {ours:6.2} s   {our_encode:6.2} s");
    println!("crate tokenizers    {their_train:6.2} s   {their_encode:6.2} s   {same}");
    Ok(())
}

/// What `work` gives, and its seconds.
fn timed<T>(work: impl FnOnce() -> Result<T>) -> Result<(T, f64)> {
    let start = Instant::now();
    let result = work()?;
    Ok((result, start.elapsed().as_secs_f64()))
}
