//! Chapter 2: one distribution at three temperatures, and what top-p leaves of it.

use anyhow::Result;
use tiny_gpt::Sampling;

use crate::artifacts::Artifact;
use crate::plot::{self, Axes, Mark, Series};

/// Logits of ten tokens, the likeliest first.
const LOGITS: [f32; 10] = [4., 3.2, 2.6, 2.2, 1.5, 1.2, 0.7, 0.4, 0., -0.5];

/// Probabilities of the ten tokens.
pub(crate) fn probabilities(temperature: f64, top_p: Option<f64>) -> Vec<f64> {
    Sampling::new(temperature, None, top_p).probabilities(&LOGITS)
}

/// The figure.
pub(crate) fn artifacts() -> Result<Vec<Artifact>> {
    let kinds = [("T = 0.5", 0.5, None), ("T = 1", 1., None), ("T = 2", 2., None)];
    let kinds = kinds.into_iter().chain([("T = 1, top-p 0.8", 1., Some(0.8))]);
    let series: Vec<Series<'_>> = (kinds.enumerate())
        .map(|(color, (name, temperature, top_p))| {
            let points = (1..).map(f64::from).zip(probabilities(temperature, top_p)).collect();
            Series::line(name, color, points).marked(Mark::LineAndDots)
        })
        .collect();
    let axes = Axes {
        title: "ten tokens, the likeliest first",
        x: ("rank", 0.7..10.3),
        y: ("probability", 0. ..0.85),
        x_tick: plot::plain,
    };
    let svg = plot::figure(310, |area| plot::chart(area, &axes, &series))?;
    Ok(vec![Artifact::figure("temperature", svg)])
}
