//! Chapter 0: the loss that counting reaches. An n-gram model gives the next byte its share among
//! all bytes that followed the same n − 1 bytes in the training text.
//!
//! ```text
//! p(b | context) = (count(context, b) + α p'(b)) / (count(context) + α)
//! ```
//!
//! p' is the model of a context that is one byte shorter. Without it, a byte that has never
//! followed the context would have the probability 0 and the surprise ∞. (Shannon 1948,
//! <https://doi.org/10.1002/j.1538-7305.1948.tb01338.x>; the interpolation is that of Jelinek and
//! Mercer 1980, with Dirichlet weights.)

use std::collections::HashMap;

use anyhow::Result;
use tiny_gpt::ByteCorpus;

use crate::artifacts::Artifact;
use crate::plot::{self, INK, PALETTE};
use plotters::prelude::*;
use plotters::style::text_anchor::HPos;

/// Weight α of the shorter context, in counts.
const ALPHA: f64 = 1.;

// ANCHOR: ngram
/// Counts of each context of up to `n − 1` bytes, and of the bytes after it.
pub(crate) struct Ngram {
    n: usize,
    counts: HashMap<Vec<u8>, (f64, HashMap<u8, f64>)>,
}

impl Ngram {
    /// Counts all n-grams, and all shorter ones, of `text`.
    pub(crate) fn new(text: &[u8], n: usize) -> Self {
        let mut counts: HashMap<Vec<u8>, (f64, HashMap<u8, f64>)> = HashMap::new();
        for end in 0..text.len() {
            for len in 0..n.min(end + 1) {
                let entry = counts.entry(text[end - len..end].to_vec()).or_default();
                entry.0 += 1.;
                *entry.1.entry(text[end]).or_default() += 1.;
            }
        }
        Self { n, counts }
    }

    /// Probability of `byte` after the text `before`.
    pub(crate) fn probability(&self, before: &[u8], byte: u8) -> f64 {
        let mut p = 1. / 256.; // no context at all: uniform
        for len in 0..self.n.min(before.len() + 1) {
            if let Some((total, bytes)) = self.counts.get(&before[before.len() - len..]) {
                let count = bytes.get(&byte).copied().unwrap_or_default();
                p = (count + ALPHA * p) / (total + ALPHA);
            }
        }
        p
    }

    /// Mean surprise of the bytes of `text`, in nats per byte.
    pub(crate) fn loss(&self, text: &[u8]) -> f64 {
        let surprise = |at: usize| -self.probability(&text[..at], text[at]).ln();
        (0..text.len()).map(surprise).sum::<f64>() / text.len() as f64
    }
}
// ANCHOR_END: ngram

/// Loss on the last tenth of `data/tiny.txt` of counts from the first nine tenths.
pub(crate) fn losses() -> Result<Vec<(usize, f64)>> {
    let text = include_bytes!("../../data/tiny.txt");
    let (train, validation) = split(text);
    Ok([0, 1, 2, 3, 4, 5].map(|n| (n, Ngram::new(&train, n).loss(&validation))).to_vec())
}

/// Training and validation bytes, split as part 2 splits them.
fn split(text: &[u8]) -> (Vec<u8>, Vec<u8>) {
    let ByteCorpus { train, validation } = ByteCorpus::from_bytes(text);
    let bytes = |tokens: Vec<u32>| tokens.into_iter().map(|token| token as u8).collect();
    (bytes(train), bytes(validation))
}

fn name(n: usize) -> String {
    match n {
        0 => "uniform: every byte alike".into(),
        1 => "1-gram: how often each byte occurs".into(),
        2 => "2-gram: after the last byte".into(),
        n => format!("{n}-gram: after the last {} bytes", n - 1),
    }
}

/// Prints the losses.
pub(crate) fn run() -> Result<()> {
    println!("{:36} nats per byte, as good as a choice of", "");
    for (n, loss) in losses()? {
        println!("{:36} {loss:>13.3} {:>24.1}", name(n), loss.exp());
    }
    Ok(())
}

/// Losses measured by training, and the command that does it: README of part 2.
const TRAINED: [(&str, f64); 2] =
    [("GPT, 2 layers, 800 steps", 1.34), ("GPT, 4 layers, 1,600 steps", 1.0)];

/// The loss ladder, as a figure and a table.
pub(crate) fn artifacts() -> Result<Vec<Artifact>> {
    let losses = losses()?;
    let rows: Vec<Vec<String>> = losses
        .iter()
        .map(|&(n, loss)| vec![name(n), format!("{loss:.3}"), format!("{:.1}", loss.exp())])
        .collect();
    let table = Artifact::table("ngrams", &["model", "nats per byte", "choice of"], &rows);
    let counted = losses.into_iter().map(|(n, loss)| (name(n), loss, 0));
    let trained = TRAINED.into_iter().map(|(name, loss)| (name.to_string(), loss, 1));
    let bars: Vec<(String, f64, usize)> = counted.chain(trained).collect();
    let svg = plot::figure(30 + 30 * bars.len() as u32, |area| {
        plot::text(area, "loss on held-out bytes of data/tiny.txt, nats", (430, 12), HPos::Center)?;
        for (i, (name, loss, color)) in (0..).zip(&bars) {
            let y = 42 + 30 * i;
            let end = 262 + (loss * 52.) as i32;
            let style = PALETTE[*color].mix(0.75).filled();
            area.draw(&Rectangle::new([(262, y - 9), (end, y + 9)], style))?;
            plot::text(area, name, (254, y), HPos::Right)?;
            plot::text(area, &format!("{loss:.2}"), (end + 6, y), HPos::Left)?;
        }
        area.draw(&PathElement::new(
            [(262, 28), (262, 24 + 30 * bars.len() as i32)],
            INK.mix(0.6),
        ))?;
        Ok(())
    })?;
    Ok(vec![Artifact::figure("ladder", svg), table])
}
