//! Chapter 1: the largest of eight attention weights over the width of a head, with and without the
//! division by √D.

use anyhow::Result;
use tensor_core::Rng;

use crate::artifacts::Artifact;
use crate::plot::{self, Axes, Mark, Series};

/// Keys that a query is compared with.
const N_KEYS: usize = 8;
const WIDTHS: [usize; 6] = [2, 4, 16, 64, 256, 1024];
/// Random queries per width.
const SAMPLES: usize = 2000;

/// Averages over random queries and keys of one width.
pub(crate) struct WidthRow {
    pub(crate) d: usize,
    /// Standard deviation of q·k.
    pub(crate) std: f64,
    /// Mean of the largest weight, without and with the division by √D.
    pub(crate) largest: [f64; 2],
}

// ANCHOR: measure
/// Draws queries and keys of `d` independent normal numbers.
pub(crate) fn measure(d: usize) -> WidthRow {
    let mut rng = Rng::new(d as u64);
    let (mut squares, mut largest) = (0., [0.; 2]);
    for _ in 0..SAMPLES {
        let query: Vec<f64> = (0..d).map(|_| rng.normal()).collect();
        let scores: [f64; N_KEYS] =
            std::array::from_fn(|_| query.iter().map(|q| q * rng.normal()).sum());
        squares += scores.iter().map(|score| score * score).sum::<f64>();
        for (largest, divisor) in largest.iter_mut().zip([1., (d as f64).sqrt()]) {
            *largest += largest_weight(scores.map(|score| score / divisor)) / SAMPLES as f64;
        }
    }
    WidthRow { d, std: (squares / (SAMPLES * N_KEYS) as f64).sqrt(), largest }
}
// ANCHOR_END: measure

fn largest_weight(scores: [f64; N_KEYS]) -> f64 {
    let max = scores.into_iter().fold(f64::NEG_INFINITY, f64::max);
    1. / scores.map(|score| (score - max).exp()).iter().sum::<f64>()
}

/// Figure and table of the measurement.
pub(crate) fn artifacts() -> Result<Vec<Artifact>> {
    let rows = WIDTHS.map(measure);
    let points =
        |which: usize| rows.iter().map(|row| ((row.d as f64).log2(), row.largest[which])).collect();
    let series = [
        Series::line("softmax(q·k)", 1, points(0)).marked(Mark::LineAndDots),
        Series::line("softmax(q·k / √D)", 0, points(1)).marked(Mark::LineAndDots),
    ];
    let axes = Axes {
        title: "largest of 8 attention weights, random queries and keys",
        x: ("width of the head D", 1. ..10.2),
        y: ("largest weight", 0. ..1.05),
        x_tick: |x| format!("{}", 2f64.powf(x).round()),
    };
    let svg = plot::figure(300, |area| plot::chart(area, &axes, &series))?;
    let cells: Vec<Vec<String>> = rows
        .iter()
        .map(|row| {
            let [plain, scaled] = row.largest.map(|weight| format!("{weight:.2}"));
            let root = format!("{:.1}", (row.d as f64).sqrt());
            vec![row.d.to_string(), root, format!("{:.1}", row.std), plain, scaled]
        })
        .collect();
    let header = ["D", "√D", "std of q·k", "largest weight", "with ÷ √D"];
    Ok(vec![
        Artifact::figure("softmax_width", svg),
        Artifact::table("softmax_width", &header, &cells),
    ])
}
