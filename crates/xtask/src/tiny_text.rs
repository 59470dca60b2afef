//! Writes the course's built-in training texts, `data/tiny.txt` (English) and
//! `data/tiny_hi.txt` (Hindi), from the grammars in `data/grammar/`.
//!
//! A model of half a million parameters can only learn words and grammar from
//! text that repeats its words often and in many places. So the texts are
//! little stories, drawn from sentences written for this course: the grammar
//! holds the sentences, a seeded generator picks among them. The same grammar
//! and seed give the same bytes on every machine, so `check` can compare.

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

/// One training text: the grammar it is made from and the file it is written to.
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

/// How often a story is redrawn when it came out like an earlier one.
const ATTEMPTS: usize = 50;

/// Writes both texts below `root`.
pub(crate) fn generate(root: &Path) -> Result<()> {
    for source in &SOURCES {
        let text = text_of(root, source)?;
        let path = root.join(source.output);
        fs::write(&path, &text).with_context(|| format!("writing {}", path.display()))?;
        println!("{}: {} bytes", source.output, text.len());
    }
    Ok(())
}

/// Fails if a text on disk differs from what its grammar gives.
pub(crate) fn check(root: &Path) -> Result<()> {
    for source in &SOURCES {
        let path = root.join(source.output);
        let found = fs::read(&path).with_context(|| format!("reading {}", path.display()))?;
        if found != text_of(root, source)?.as_bytes() {
            bail!("{} is not what {} gives: generate it again", source.output, source.grammar);
        }
        println!("{}: as the grammar gives it", source.output);
    }
    Ok(())
}

/// Reads the grammar of `source` and draws its text.
fn text_of(root: &Path, source: &Source) -> Result<String> {
    let path = root.join(source.grammar);
    let text = fs::read_to_string(&path).with_context(|| format!("reading {}", path.display()))?;
    let grammar = Grammar::parse(source.grammar, &text)?;
    Ok(stories(&grammar)?.join("\n"))
}

/// Draws stories until the grammar's `bytes` are reached; each ends in a
/// newline, and no two are alike.
pub(crate) fn stories(grammar: &Grammar) -> Result<Vec<String>> {
    let mut rng = SplitMix64::new(grammar.seed);
    let mut seen = HashSet::new();
    let mut stories = Vec::new();
    let mut bytes = 0;
    // Skeletons are dealt like cards, a shuffled deck at a time. That way each
    // turns up evenly from the first byte to the last, and the held-out tail of
    // the file has the same mix of stories as the rest.
    let mut deck: Vec<usize> = Vec::new();
    while bytes < grammar.bytes {
        if deck.is_empty() {
            deck = (0..grammar.stories.len()).collect();
            rng.shuffle(&mut deck);
        }
        let Some(card) = deck.pop() else { bail!("{}: no stories", grammar.file) };
        let story = fresh(grammar, card, &mut rng, &seen)?;
        bytes += story.len() + 1;
        seen.insert(story.clone());
        stories.push(story);
    }
    Ok(stories)
}

/// Draws one story that is not in `seen`.
fn fresh(
    grammar: &Grammar,
    card: usize,
    rng: &mut SplitMix64,
    seen: &HashSet<String>,
) -> Result<String> {
    let skeleton = &grammar.stories[card];
    for _ in 0..ATTEMPTS {
        let story = expand::story(grammar, skeleton, rng)?;
        if !seen.contains(&story) {
            return Ok(story);
        }
    }
    bail!(
        "{}:{}: story {} has too few variants: {ATTEMPTS} draws gave only repeats",
        grammar.file,
        skeleton.line,
        skeleton.name
    )
}
