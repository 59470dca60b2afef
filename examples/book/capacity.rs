//! Chapter 5: the tokens that find their expert full, over the capacity.

use anyhow::Result;
use moe::dispatch::{Dispatch, expert_capacity};
use tensor_core::Rng;

use crate::artifacts::Artifact;
use crate::plot::{self, Axes, Series};

const TOKENS: usize = 1024;

/// Share of tokens that are dropped if each chooses one of four experts with the probabilities
/// `probs`.
pub(crate) fn dropped(probs: [f64; 4], factor: f64) -> f64 {
    let mut rng = Rng::new(7);
    let experts: Vec<u32> = (0..TOKENS)
        .map(|_| {
            let mut rest = rng.uniform();
            let choice = probs.iter().position(|p| {
                rest -= p;
                rest < 0.
            });
            choice.unwrap_or(3) as u32 // rounding left a rest
        })
        .collect();
    let capacity = expert_capacity(factor, TOKENS, 1, 4);
    Dispatch::new(&experts, 1, 4, Some(capacity)).n_dropped() as f64 / TOKENS as f64
}

/// The figure.
pub(crate) fn artifacts() -> Result<Vec<Artifact>> {
    let kinds = [
        ("even: a quarter each", [0.25; 4]),
        ("load 1.6 of the mean", [0.4, 0.3, 0.2, 0.1]),
        ("load 3.3 of the mean", [0.82, 0.06, 0.06, 0.06]),
    ];
    let series: Vec<Series<'_>> = (kinds.into_iter().enumerate())
        .map(|(color, (name, probs))| {
            let factors = (2..=70).map(|i| f64::from(i) / 20.);
            Series::line(name, color, factors.map(|f| (f, dropped(probs, f))).collect())
        })
        .collect();
    let axes = Axes {
        title: "tokens that find their expert full, four experts",
        x: ("capacity, in mean loads", 0. ..3.55),
        y: ("share dropped", 0. ..1.),
        x_tick: plot::plain,
    };
    let svg = plot::figure(300, |area| plot::chart(area, &axes, &series))?;
    Ok(vec![Artifact::figure("capacity", svg)])
}
