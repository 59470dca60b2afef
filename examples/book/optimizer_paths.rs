//! Chapter 2: gradient descent, momentum and Adam in a valley that is 50 times as steep across as
//! along.

use anyhow::Result;
use candle_core::{Device, Tensor};
use tensor_core::{AdamWConfig, MomentFormat, WeightDecay};
use tiny_gpt::adamw::{AdamMoments, adamw_update};

use crate::artifacts::Artifact;
use crate::plot::{self, Axes, Series};

/// Curvatures along and across the valley.
pub(crate) const CURVATURES: [f64; 2] = [1., 50.];
const START: [f64; 2] = [4., 1.];
const STEPS: usize = 100;
/// Learning rate of gradient descent and momentum: just below 2/50, from which on the first
/// diverges.
pub(crate) const LR: f64 = 0.036;

/// Height of the valley's floor at `p` above its lowest point.
pub(crate) fn height(p: [f64; 2]) -> f64 {
    p.into_iter().zip(CURVATURES).map(|(x, curvature)| curvature * x * x / 2.).sum()
}

fn gradient(p: [f64; 2]) -> [f64; 2] {
    [CURVATURES[0] * p[0], CURVATURES[1] * p[1]]
}

// ANCHOR: momentum
/// Points of gradient descent with momentum `beta`; 0 is gradient descent itself.
pub(crate) fn momentum(lr: f64, beta: f64) -> Vec<[f64; 2]> {
    let (mut p, mut velocity) = (START, [0.; 2]);
    let mut path = vec![p];
    for _ in 0..STEPS {
        let gradient = gradient(p);
        for i in 0..2 {
            velocity[i] = beta * velocity[i] + gradient[i];
            p[i] -= lr * velocity[i];
        }
        path.push(p);
    }
    path
}
// ANCHOR_END: momentum

/// Points of Adam, by part 2's update.
pub(crate) fn adam(lr: f64) -> Result<Vec<[f64; 2]>> {
    let mut p = Tensor::new(&START, &Device::Cpu)?;
    let mut moments = AdamMoments { first: p.zeros_like()?, second: p.zeros_like()?, updates: 0 };
    let config = AdamWConfig {
        beta1: 0.9,
        beta2: 0.99,
        eps: 1e-8,
        weight_decay: 0.,
        moments: MomentFormat::Full,
    };
    let mut path = vec![START];
    for _ in 0..STEPS {
        let at: Vec<f64> = p.to_vec1()?;
        let gradient = Tensor::new(&gradient([at[0], at[1]]), &Device::Cpu)?;
        (p, moments) = adamw_update(&p, &gradient, &moments, lr, WeightDecay::No, &config)?;
        let at: Vec<f64> = p.to_vec1()?;
        path.push([at[0], at[1]]);
    }
    Ok(path)
}

/// Paths and heights.
pub(crate) fn artifacts() -> Result<Vec<Artifact>> {
    let paths = [
        ("gradient descent", 1, momentum(LR, 0.)),
        ("momentum 0.9", 2, momentum(LR / 4., 0.9)),
        ("Adam", 0, adam(0.3)?),
    ];
    let path_series: Vec<Series<'_>> = paths
        .iter()
        .map(|(name, color, path)| {
            let points = path.iter().take(40).map(|p| (p[0], p[1])).collect();
            Series::line(name, *color, points)
        })
        .collect();
    let height_series: Vec<Series<'_>> = paths
        .iter()
        .map(|(_, color, path)| {
            let heights = (0..).zip(path).map(|(i, &p)| (f64::from(i), height(p).log10().max(-6.)));
            Series::line("", *color, heights.collect())
        })
        .collect();
    let svg = plot::figure(560, |area| {
        let (above, below) = area.split_vertically(300);
        let axes = Axes {
            title: "the first 40 steps, from the right: 50 times as steep up and down",
            x: ("along the valley", -1.2..4.2),
            y: ("across", -1.1..1.1),
            x_tick: plot::plain,
        };
        plot::chart(&above, &axes, &path_series)?;
        let axes = Axes {
            title: "height above the lowest point",
            x: ("step", 0. ..STEPS as f64),
            y: ("log₁₀ height", -6. ..2.),
            x_tick: plot::plain,
        };
        plot::chart(&below, &axes, &height_series)
    })?;
    Ok(vec![Artifact::figure("optimizer_paths", svg)])
}
