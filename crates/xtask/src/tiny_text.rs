//! Generator of the built-in training texts, `data/tiny.txt` (English) and `data/tiny_hi.txt`
//! (Hindi), from the grammars in `data/grammar/`.
//!
//! A model of half a million parameters can learn words and grammar only from text that repeats its
//! words often and in many contexts. The texts are therefore little stories: a grammar holds
//! sentences written for this course, and a seeded generator picks among them. The same grammar and
//! seed give the same bytes on every machine, so `check` can compare.

mod expand;
mod grammar;
mod parse;
mod random;
mod style;
#[cfg(test)]
mod tests;
mod validate;

use std::collections::HashSet;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result, bail};
use grammar::Grammar;
use random::SplitMix64;

use crate::repository::read;

/// A training text: the grammar it is generated from and the file it is written to.
pub(crate) struct Source {
    /// Grammar file, relative to the repository root.
    pub(crate) grammar: &'static str,
    /// Text file, relative to the repository root.
    pub(crate) output: &'static str,
}

/// The two texts of the course.
pub(crate) const SOURCES: [Source; 2] = [
    Source { grammar: "data/grammar/english.txt", output: "data/tiny.txt" },
    Source { grammar: "data/grammar/hindi.txt", output: "data/tiny_hi.txt" },
];

/// Maximum number of draws to get a story that differs from all earlier ones.
const ATTEMPTS: usize = 50;

/// Writes both texts below `root`.
pub(crate) fn generate(root: &Path) -> Result<()> {
    for source in &SOURCES {
        let text = generate_text(root, source)?;
        let path = root.join(source.output);
        fs::write(&path, &text).with_context(|| format!("writing {}", path.display()))?;
        println!("{}: {} bytes", source.output, text.len());
    }
    Ok(())
}

/// Fails if a text on disk differs from the text its grammar generates.
pub(crate) fn check(root: &Path) -> Result<()> {
    for source in &SOURCES {
        let path = root.join(source.output);
        let on_disk = fs::read(&path).with_context(|| format!("reading {}", path.display()))?;
        if on_disk != generate_text(root, source)?.as_bytes() {
            bail!(
                "{} differs from the text that {} generates: run `cargo x data`",
                source.output,
                source.grammar
            );
        }
        println!("{}: up to date with its grammar", source.output);
    }
    Ok(())
}

/// Text of `source`, generated from its grammar.
fn generate_text(root: &Path, source: &Source) -> Result<String> {
    let path = root.join(source.grammar);
    let grammar = Grammar::parse(source.grammar, &read(&path)?)?;
    Ok(stories(&grammar)?.join("\n"))
}

/// Distinct stories, drawn until the grammar's `bytes` are reached. Each ends with a newline.
pub(crate) fn stories(grammar: &Grammar) -> Result<Vec<String>> {
    let mut rng = SplitMix64::new(grammar.seed);
    let mut drawn = HashSet::new();
    let mut stories = Vec::new();
    let mut bytes = 0;
    // Skeletons are dealt like cards, one shuffled deck after the other, so that each occurs evenly
    // throughout the file and the validation tail has the same mix of stories as the rest.
    let mut deck: Vec<usize> = Vec::new();
    while bytes < grammar.bytes {
        if deck.is_empty() {
            deck = (0..grammar.stories.len()).collect();
            rng.shuffle(&mut deck);
        }
        let Some(card) = deck.pop() else { bail!("{}: no stories", grammar.file) };
        let story = new_story(grammar, card, &mut rng, &drawn)?;
        bytes += story.len() + 1;
        drawn.insert(story.clone());
        stories.push(story);
    }
    Ok(stories)
}

/// Draws a story that is not in `drawn`.
fn new_story(
    grammar: &Grammar,
    card: usize,
    rng: &mut SplitMix64,
    drawn: &HashSet<String>,
) -> Result<String> {
    let skeleton = &grammar.stories[card];
    for _ in 0..ATTEMPTS {
        let story = expand::story(grammar, skeleton, rng)?;
        if !drawn.contains(&story) {
            return Ok(story);
        }
    }
    bail!(
        "{}:{}: story {} has too few variants: {ATTEMPTS} draws were all repeats",
        grammar.file,
        skeleton.line,
        skeleton.name
    )
}
