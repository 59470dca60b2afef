//! Chapter 12: how sure a share is, what a comparison on the same questions gains, and pass@k of
//! two policies that cross.

use anyhow::Result;
use experiment::statistics::wilson_interval;

use crate::artifacts::Artifact;
use crate::plot::{self, Axes, Mark, Series};

// ANCHOR: sign_test
/// Probability that a coin splits the `wins + losses` questions on which two models differ at least
/// as unevenly: the two-sided sign test.
pub(crate) fn sign_test(wins: u32, losses: u32) -> f64 {
    let (n, smaller) = (wins + losses, wins.min(losses));
    let (mut tail, mut log_binomial) = (0., f64::from(n) * 0.5f64.ln()); // log C(n, k) / 2ⁿ
    for k in 0..=smaller {
        tail += log_binomial.exp();
        log_binomial += (f64::from(n - k) / f64::from(k + 1)).ln();
    }
    f64::min(2. * tail, 1.)
}
// ANCHOR_END: sign_test

/// Questions per model at which a difference of the shares `a` and `b` is found at the level of 5 %
/// in four of five cases, when each model has questions of its own.
pub(crate) fn questions_needed(a: f64, b: f64) -> f64 {
    const Z: f64 = 1.959_964 + 0.841_621; // of 2.5 % and of 20 %
    Z * Z * (a * (1. - a) + b * (1. - b)) / (a - b).powi(2)
}

/// Mean pass@k of questions that are solved with the probabilities `probs`.
pub(crate) fn pass_at_k(probs: &[f64], k: i32) -> f64 {
    probs.iter().map(|p| 1. - (1. - p).powi(k)).sum::<f64>() / probs.len() as f64
}

/// The base solves every question sometimes.
pub(crate) const BASE: [f64; 4] = [0.5, 0.3, 0.1, 0.1];
/// After RL it solves two of them nearly always, and the others hardly ever.
pub(crate) const TRAINED: [f64; 4] = [0.95, 0.9, 0.02, 0.005];

/// Both figures.
pub(crate) fn artifacts() -> Result<Vec<Artifact>> {
    let sizes: Vec<f64> = (0..=20).map(|i| 1.5 + f64::from(i) / 8.).collect(); // log₁₀ n
    let width = |share: f64| -> Vec<(f64, f64)> {
        let half = |log_n: f64| {
            let [low, high] = wilson_interval(share, 10f64.powf(log_n).round() as usize);
            50. * (high - low)
        };
        sizes.iter().map(|&log_n| (log_n, half(log_n))).collect()
    };
    let series = [
        Series::line("share .5", 0, width(0.5)),
        Series::line("share .9", 1, width(0.9)),
        Series::line("share .98", 2, width(0.98)),
    ];
    let axes = Axes {
        title: "half of the 95 % interval of a share, in points of a hundred",
        x: ("questions", 1.5..4.02),
        y: ("± points", 0. ..17.),
        x_tick: |log_n| format!("{:.0}", 10f64.powf(log_n)),
    };
    let intervals = plot::figure(310, |area| plot::chart(area, &axes, &series))?;
    let curve = |probs: &[f64]| -> Vec<(f64, f64)> {
        (0..=7).map(|i| (f64::from(i), pass_at_k(probs, 1 << i))).collect()
    };
    let series = [
        Series::line("base", 0, curve(&BASE)).marked(Mark::LineAndDots),
        Series::line("after RL", 1, curve(&TRAINED)).marked(Mark::LineAndDots),
    ];
    let axes = Axes {
        title: "pass@k of four questions, before and after",
        x: ("k", 0. ..7.1),
        y: ("pass@k", 0. ..1.02),
        x_tick: |log_k| format!("{:.0}", 2f64.powf(log_k)),
    };
    let crossing = plot::figure(290, |area| plot::chart(area, &axes, &series))?;
    let rows = [(0.5, 0.6), (0.6, 0.65), (0.93, 0.95), (0.93, 0.94)].map(|(a, b)| {
        let n = (questions_needed(a, b) / 10.).round() * 10.;
        vec![a.to_string(), b.to_string(), n.to_string()]
    });
    let splits = [(6, 1), (11, 1), (20, 10), (30, 20), (600, 500)].map(|(wins, losses)| {
        let probability = format!("{:.3}", sign_test(wins, losses));
        vec![wins.to_string(), losses.to_string(), probability]
    });
    let header = ["share", "other share", "questions, about"];
    Ok(vec![
        Artifact::figure("intervals", intervals),
        Artifact::figure("pass_at_k", crossing),
        Artifact::table("questions_needed", &header, &rows),
        Artifact::table("sign_test", &["wins", "losses", "a coin is as uneven"], &splits),
    ])
}
