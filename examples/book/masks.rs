//! Masks as squares: the attention of three tokens inside that of four and a window with sinks
//! (chapter 3), and packed examples with their targets (chapter 6).

use anyhow::Result;
use attention::attention_weights;
use candle_core::{DType, Device};
use model_io::config::SlidingWindow;
use modern::sliding_window::can_attend;
use plotters::prelude::*;
use plotters::style::text_anchor::HPos;
use sft::{SftBatch, TokenizedExample};
use tensor_core::Rng;

use crate::artifacts::Artifact;
use crate::plot::{self, Cells, INK, PALETTE};

/// Attention weights of the first `t` of four tokens with random queries and keys, (t, t).
pub(crate) fn weights_of_first(t: usize) -> Result<Vec<Vec<f32>>> {
    let random = |seed| Rng::new(seed).normal_tensor((4, 4), 1., DType::F32, &Device::Cpu);
    let (q, k) = (random(3)?.narrow(0, 0, t)?, random(4)?.narrow(0, 0, t)?);
    Ok(attention_weights(&q, &k)?.to_vec2()?)
}

/// The weights of three tokens beside those of four.
fn cache_figure() -> Result<String> {
    let names = ["k0", "k1", "k2", "k3"];
    let rows = ["q0", "q1", "q2", "q3"];
    plot::figure(250, |area| {
        for (t, left) in [(3, 60), (4, 320)] {
            let weights = weights_of_first(t)?;
            let visible = |row: usize, weight: f32| {
                move |column: usize| (column <= row).then(|| format!("{weight:.2}"))
            };
            let texts = (0..).zip(&weights).map(|(row, weights)| {
                let cell = |(column, &weight)| visible(row, weight)(column).unwrap_or_default();
                (0..).zip(weights).map(cell).collect()
            });
            let shade = weights.iter().map(|row| row.iter().map(|&w| f64::from(w)).collect());
            let cells = Cells {
                title: if t == 3 { "three tokens" } else { "one more: one new row" },
                rows: &rows[..t],
                columns: &names[..t],
                texts: texts.collect(),
                shade: shade.collect(),
            };
            plot::cells(area, &cells, (left, 60), (60, 42))?;
        }
        Ok(())
    })
}

/// Squares of a mask of `n` tokens, colored by `color` where a query may read a key.
fn draw_mask(
    area: &plot::Area<'_>,
    (left, top): (i32, i32),
    n: usize,
    color: impl Fn(usize, usize) -> Option<usize>,
) -> Result<()> {
    const SIZE: i32 = 15;
    for query in 0..n {
        for key in 0..=query {
            let corner = (left + SIZE * key as i32, top + SIZE * query as i32);
            let opposite = (corner.0 + SIZE, corner.1 + SIZE);
            if let Some(color) = color(query, key) {
                let style = PALETTE[color].mix(0.75).filled();
                area.draw(&Rectangle::new([corner, opposite], style))?;
            }
            area.draw(&Rectangle::new([corner, opposite], INK.mix(0.15).stroke_width(1)))?;
        }
    }
    let end = (left + SIZE * n as i32, top + SIZE * n as i32);
    area.draw(&Rectangle::new([(left, top), end], INK.mix(0.4).stroke_width(1)))?;
    Ok(())
}

/// A causal mask, a window, and a window with sinks, of 12 tokens.
fn window_figure() -> Result<String> {
    const N: usize = 12;
    let kinds = [("causal", N, 0), ("window of 4", 4, 0), ("window of 4, 2 sinks", 4, 2)];
    plot::figure(230, |area| {
        for (i, (title, size, sinks)) in (0..).zip(kinds) {
            let left = 10 + 200 * i;
            plot::text(area, title, (left + 90, 12), HPos::Center)?;
            let window = SlidingWindow { size, sinks };
            draw_mask(area, (left, 30), N, |query, key| {
                let color = usize::from(key < sinks && query - key >= size);
                can_attend(window, query, key).then_some(color)
            })?;
        }
        let caption = "row: the token that reads; column: the token that is read; orange: sinks";
        plot::text(area, caption, (300, 222), HPos::Center)
    })
}

/// Two examples with prompts of 4 and 3 tokens, packed into a row.
pub(crate) fn packed() -> Result<SftBatch> {
    let example = |n: u32, prompt_len| TokenizedExample::new((0..n).collect(), prompt_len);
    Ok(SftBatch::packed(&[example(8, 4), example(6, 3)], 16, &Device::Cpu)?)
}

/// The mask of the packed row, and its targets.
fn packed_figure() -> Result<String> {
    let batch = packed()?;
    let segments = &batch.segment_ids[0];
    let targets: Vec<u32> = batch.target_positions.to_vec1()?;
    plot::figure(245, |area| {
        draw_mask(area, (40, 30), segments.len(), |query, key| {
            let color = segments[query] as usize - 1;
            (segments[query] == segments[key]).then_some(2 * color)
        })?;
        plot::text(area, "who reads whom", (130, 14), HPos::Center)?;
        plot::text(area, "in the loss", (300, 14), HPos::Center)?;
        for (position, segment) in (0..).zip(segments) {
            let corner = (290, 30 + 15 * position);
            let is_target = targets.contains(&(position as u32));
            let strength = if is_target { 0.75 } else { 0. };
            let color = PALETTE[2 * (*segment as usize - 1)].mix(strength).filled();
            area.draw(&Rectangle::new([corner, (corner.0 + 20, corner.1 + 15)], color))?;
            let border = INK.mix(0.15).stroke_width(1);
            area.draw(&Rectangle::new([corner, (corner.0 + 20, corner.1 + 15)], border))?;
        }
        for (y, text) in [(70, "first example"), (172, "second example")] {
            plot::text(area, text, (330, y), HPos::Left)?;
        }
        plot::text(area, "row: a token that predicts the next", (300, 235), HPos::Center)
    })
}

/// The figures.
pub(crate) fn artifacts() -> Result<Vec<Artifact>> {
    Ok(vec![
        Artifact::figure("cache", cache_figure()?),
        Artifact::figure("window", window_figure()?),
        Artifact::figure("packed", packed_figure()?),
    ])
}
