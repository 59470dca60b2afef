//! Chapter 4: the loss of models of all sizes for a fixed amount of computation, by the law of
//! Hoffmann et al. 2022, <https://arxiv.org/abs/2203.15556>.

use anyhow::Result;

use crate::artifacts::Artifact;
use crate::plot::{self, Axes, Mark, Series};

/// Constants of the law: A, B, α, β, and the entropy E.
pub(crate) const A: f64 = 406.4;
pub(crate) const B: f64 = 410.7;
pub(crate) const ALPHA: f64 = 0.34;
pub(crate) const BETA: f64 = 0.28;
const ENTROPY: f64 = 1.69;

/// Loss of `n` weights after `d` tokens.
pub(crate) fn loss(n: f64, d: f64) -> f64 {
    ENTROPY + A / n.powf(ALPHA) + B / d.powf(BETA)
}

/// Weights of the best model for `budget` operations: α A / N^α = β B / D^β with D = budget / 6N.
pub(crate) fn best_size(budget: f64) -> f64 {
    let g = (ALPHA * A / (BETA * B)).powf(1. / (ALPHA + BETA));
    g * (budget / 6.).powf(BETA / (ALPHA + BETA))
}

/// The figure.
pub(crate) fn artifacts() -> Result<Vec<Artifact>> {
    let budgets = [("10¹⁸ operations", 1e18), ("10²⁰", 1e20), ("10²²", 1e22)];
    let mut series = Vec::new();
    for (color, (name, budget)) in budgets.into_iter().enumerate() {
        let at = |log_n: f64| {
            let n = 10f64.powf(log_n);
            (log_n, loss(n, budget / (6. * n)))
        };
        let points = (0..=120).map(|i| at(6. + f64::from(i) / 20.)).filter(|(_, y)| *y < 4.8);
        series.push(Series::line(name, color, points.collect()));
        let best = vec![at(best_size(budget).log10())];
        series.push(Series::line("", color, best).marked(Mark::Dots));
    }
    let axes = Axes {
        title: "loss over the size of the model, for three budgets",
        x: ("log₁₀ of the number of weights", 6. ..12.),
        y: ("nats per token", 1.8..4.8),
        x_tick: plot::plain,
    };
    let svg = plot::figure(320, |area| plot::chart(area, &axes, &series))?;
    Ok(vec![Artifact::figure("compute_budget", svg)])
}
