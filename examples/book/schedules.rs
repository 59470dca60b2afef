//! Chapter 4: the learning rate over the steps.

use anyhow::Result;
use scaling::LrSchedule;
use scaling::schedule::DecayShape;

use crate::artifacts::Artifact;
use crate::plot::{self, Axes, Series};

/// The figure.
pub(crate) fn artifacts() -> Result<Vec<Artifact>> {
    const STEPS: usize = 1000;
    let kinds = [
        ("half a cosine", DecayShape::Cosine),
        ("warm-up, stable, decay", DecayShape::WarmupStableDecay),
        ("a line", DecayShape::Linear),
    ];
    let series: Vec<Series<'_>> = (kinds.into_iter().enumerate())
        .map(|(color, (name, decay))| {
            let schedule = LrSchedule { decay, ..LrSchedule::cosine(3e-3, STEPS) };
            let steps = (0..=200).map(|i| (i * STEPS / 200).max(1));
            let points = steps.map(|n| (n as f64, 1e3 * schedule.lr_at(n))).collect();
            Series::line(name, color, points)
        })
        .collect();
    let axes = Axes {
        title: "three schedules with the same warm-up, peak and end",
        x: ("step", 0. ..1005.),
        y: ("learning rate, thousandths", 0. ..3.1),
        x_tick: plot::plain,
    };
    let svg = plot::figure(300, |area| plot::chart(area, &axes, &series))?;
    Ok(vec![Artifact::figure("schedules", svg)])
}
