//! A chapter of the book: what it includes, shows and links to.

use std::collections::BTreeSet;

/// References of a Markdown text, code blocks aside.
#[derive(Debug, Default)]
pub(super) struct Chapter<'a> {
    /// Files and anchors of `{{#include file:anchor}}`.
    pub(super) includes: Vec<Include<'a>>,
    /// Images.
    pub(super) images: Vec<Image<'a>>,
    /// Links to a heading: the file, empty for this one, and the heading.
    pub(super) heading_links: Vec<(&'a str, &'a str)>,
    /// Addresses of the headings, as mdBook makes them.
    pub(super) headings: BTreeSet<String>,
}

/// Included file.
#[derive(Debug)]
pub(super) struct Include<'a> {
    /// Path relative to the folder of the chapters.
    pub(super) file: &'a str,
    /// Anchor in it; without one, the whole file.
    pub(super) anchor: Option<&'a str>,
}

/// Image.
#[derive(Debug)]
pub(super) struct Image<'a> {
    /// Path relative to the folder of the chapters.
    pub(super) address: &'a str,
    /// Alternative text.
    pub(super) alt: &'a str,
}

impl<'a> Chapter<'a> {
    pub(super) fn parse(text: &'a str) -> Self {
        let mut chapter = Self::default();
        let mut in_block = false;
        let mut prose = Vec::new(); // byte ranges outside code blocks
        let mut at = 0;
        for line in text.split_inclusive('\n') {
            let is_fence = line.trim_start().starts_with("```");
            in_block ^= is_fence;
            if let Some(include) = include(line.trim()) {
                chapter.includes.push(include);
            }
            if !in_block && !is_fence {
                prose.push(at..at + line.len());
                if line.starts_with('#') {
                    chapter.headings.insert(slug(line.trim_start_matches('#').trim()));
                }
            }
            at += line.len();
        }
        for (middle, _) in text.match_indices("](") {
            let Some(len) = text[middle..].find(')') else { continue };
            let address = &text[middle + 2..middle + len];
            let start = text[..middle].rfind('[').unwrap_or(middle);
            if address.contains("://") || !prose.iter().any(|range| range.contains(&middle)) {
                continue;
            }
            if text[..start].ends_with('!') {
                chapter.images.push(Image { address, alt: &text[start + 1..middle] });
            } else if let Some((file, heading)) = address.split_once('#')
                && !file.ends_with(".rs")
            {
                chapter.heading_links.push((file, heading));
            }
        }
        chapter
    }
}

/// File and anchor of a line that includes them.
fn include(line: &str) -> Option<Include<'_>> {
    let inner = line.strip_prefix("{{#include ")?.strip_suffix("}}")?.trim();
    let (file, anchor) = match inner.split_once(':') {
        Some((file, anchor)) => (file, Some(anchor)),
        None => (inner, None),
    };
    Some(Include { file, anchor })
}

/// Address of a heading: lower case, hyphens for spaces, letters and digits.
fn slug(heading: &str) -> String {
    let kept = heading.trim().chars().filter(|c| c.is_alphanumeric() || " -_".contains(*c));
    kept.flat_map(char::to_lowercase).map(|c| if c == ' ' { '-' } else { c }).collect()
}
