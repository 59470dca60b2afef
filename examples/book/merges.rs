//! Chapter 4: the merges of one text, step by step.

use anyhow::Result;
use plotters::prelude::*;
use plotters::style::text_anchor::HPos;
use scaling::naive_bpe::{encode, train};

use crate::artifacts::Artifact;
use crate::plot::{self, INK, PALETTE};

const TEXT: &str = "aaabdaaabac";

/// The tokens of the text after each merge, each as the bytes that it stands for.
pub(crate) fn steps() -> Vec<Vec<String>> {
    let bytes: Vec<u32> = TEXT.bytes().map(u32::from).collect();
    let merges = train(vec![bytes.clone()], usize::MAX, 256);
    let mut names: Vec<String> = (0..=255u8).map(|byte| char::from(byte).to_string()).collect();
    names.extend(vec![String::new(); merges.len()]);
    for (i, &(a, b)) in merges.iter().enumerate() {
        names[256 + i] = names[a as usize].clone() + &names[b as usize];
    }
    (0..=merges.len())
        .map(|n| encode(bytes.clone(), &merges[..n], 256))
        .map(|tokens| tokens.iter().map(|&token| names[token as usize].clone()).collect())
        .collect()
}

/// The figure.
pub(crate) fn artifacts() -> Result<Vec<Artifact>> {
    const WIDTH: i32 = 36;
    let steps = steps();
    let svg = plot::figure(20 + 46 * steps.len() as u32, |area| {
        for (i, tokens) in (0..).zip(&steps) {
            let (mut left, top) = (40, 12 + 46 * i);
            for token in tokens {
                let width = WIDTH * token.len() as i32;
                let (corner, opposite) = ((left + 1, top), (left + width - 1, top + 28));
                let strength = 0.14 * (token.len() - 1) as f64;
                let fill = PALETTE[0].mix(strength).filled();
                area.draw(&Rectangle::new([corner, opposite], fill))?;
                area.draw(&Rectangle::new([corner, opposite], INK.mix(0.5).stroke_width(1)))?;
                plot::text(area, token, (left + width / 2, top + 14), HPos::Center)?;
                left += width;
            }
            let count = format!("{} tokens", tokens.len());
            plot::text(area, &count, (left + 14, top + 14), HPos::Left)?;
        }
        Ok(())
    })?;
    Ok(vec![Artifact::figure("merges", svg)])
}
