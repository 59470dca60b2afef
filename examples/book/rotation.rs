//! Chapter 3: rotary positions as clock hands, and a score over the distance of two tokens.

use anyhow::Result;
use candle_core::{DType, Device, Tensor};
use model_io::config::PositionEncoding;
use modern::rope::{Rope, apply_rope};
use plotters::prelude::*;
use plotters::style::text_anchor::HPos;

use crate::artifacts::Artifact;
use crate::plot::{self, Axes, INK, PALETTE, Series};

const BASE: f64 = 10_000.;

/// `vector: (D)` as a query or key at `position`, rotated by part 3.
pub(crate) fn rotated(vector: &[f64], position: usize) -> Result<Vec<f64>> {
    let d = vector.len();
    let encoding = PositionEncoding::rope(BASE);
    let rope = Rope::new(d, encoding).expect("the encoding is rotary");
    let x = Tensor::from_slice(vector, (1, 1, 1, d), &Device::Cpu)?;
    Ok(apply_rope(&x, &rope, position)?.to_dtype(DType::F64)?.flatten_all()?.to_vec1()?)
}

pub(crate) fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

/// Hands of a clock per pair of channels at positions 0 to 7: (cos, sin), the pair's image of
/// (1, 0).
fn hands(d: usize, positions: usize) -> Result<Vec<Vec<(f64, f64)>>> {
    let pairs = d / 2;
    let ones: Vec<f64> = (0..d).map(|i| if i < pairs { 1. } else { 0. }).collect();
    let rows = (0..positions).map(|position| rotated(&ones, position));
    let rows = rows.collect::<Result<Vec<_>>>()?;
    Ok((0..pairs)
        .map(|pair| rows.iter().map(|row| (row[pair], row[pair + pairs])).collect())
        .collect())
}

/// Both figures.
pub(crate) fn artifacts() -> Result<Vec<Artifact>> {
    let (d, positions) = (10, 8);
    let hands = hands(d, positions)?;
    let clocks = plot::figure(355, |area| {
        plot::text(area, "position", (345, 14), HPos::Center)?;
        for position in 0..positions as i32 {
            plot::text(area, &position.to_string(), (150 + 56 * position, 36), HPos::Center)?;
        }
        for (pair, row) in (0..).zip(&hands) {
            let y = 76 + 60 * pair;
            let speed = BASE.powf(-2. * f64::from(pair) / d as f64);
            plot::text(area, &format!("pair {pair}"), (12, y - 9), HPos::Left)?;
            plot::text(area, &format!("{speed:.4} rad"), (12, y + 9), HPos::Left)?;
            for (position, &(cos, sin)) in (0..).zip(row) {
                let center = (150 + 56 * position, y);
                let tip = (center.0 + (23. * cos) as i32, center.1 - (23. * sin) as i32);
                area.draw(&Circle::new(center, 24, INK.mix(0.3).stroke_width(1)))?;
                area.draw(&PathElement::new([center, tip], PALETTE[0].stroke_width(3)))?;
            }
        }
        Ok(())
    })?;
    let d = 64;
    let ones = vec![1.; d];
    let score = |query: usize, key: usize| -> Result<f64> {
        Ok(dot(&rotated(&ones, query)?, &rotated(&ones, key)?) / (d as f64).sqrt())
    };
    let curve = |key: usize| -> Result<Vec<(f64, f64)>> {
        (0..=200).map(|distance| Ok((distance as f64, score(key + distance, key)?))).collect()
    };
    let series = [
        Series::line("key at position 0", 0, curve(0)?),
        Series::line("key at position 1,000", 1, curve(1000)?).marked(plot::Mark::Dashed),
    ];
    let axes = Axes {
        title: "score of equal query and key, D = 64, over their distance",
        x: ("distance in tokens", 0. ..200.),
        y: ("q·k / √D", 0. ..8.2),
        x_tick: plot::plain,
    };
    let distance = plot::figure(290, |area| plot::chart(area, &axes, &series))?;
    Ok(vec![Artifact::figure("clock_hands", clocks), Artifact::figure("rope_distance", distance)])
}
