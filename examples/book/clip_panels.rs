//! Chapter 8: PPO's objective of a token over the ratio, for a good and for a bad token.

use anyhow::Result;
use candle_core::{Device, Tensor};
use ppo::{Clip, clipped_surrogate};

use crate::artifacts::Artifact;
use crate::plot::{self, Axes, Mark, PALETTE, Series};

/// Clipped objective at `ratios`, which is the negative loss of part 8, with ε = 0.2.
pub(crate) fn objective(ratios: &[f64], advantage: f64) -> Result<Vec<f64>> {
    let log_probs = Tensor::new(ratios, &Device::Cpu)?.log()?;
    let advantages = (log_probs.ones_like()? * advantage)?;
    let old = log_probs.zeros_like()?;
    let loss = clipped_surrogate(&log_probs, &old, &advantages, Clip::symmetric(0.2))?;
    Ok(loss.neg()?.to_vec1()?)
}

/// The two panels.
pub(crate) fn artifacts() -> Result<Vec<Artifact>> {
    let ratios: Vec<f64> = (10..=200).map(|i| f64::from(i) / 100.).collect();
    let svg = plot::figure(330, |area| {
        let (left, right) = area.split_horizontally(300);
        for (panel, title, advantage) in [(left, "A = 1", 1.), (right, "A = −1", -1.)] {
            let curve = ratios.iter().copied().zip(objective(&ratios, advantage)?).collect();
            let unclipped = ratios.iter().map(|&ratio| (ratio, ratio * advantage)).collect();
            let dots = [0.5, 1., 1.5];
            let dots = dots.into_iter().zip(objective(&dots, advantage)?).collect();
            let dots = Series { name: "", points: dots, color: PALETTE[0], mark: Mark::Dots };
            let series = [
                Series::line("ρ A", 1, unclipped).marked(Mark::Dashed),
                Series::line("min(ρ A, clip(ρ) A)", 0, curve),
                dots,
            ];
            let y = if advantage > 0. { 0. ..2. } else { -2. ..0. };
            let axes =
                Axes { title, x: ("ratio ρ", 0. ..2.), y: ("objective", y), x_tick: plot::plain };
            plot::chart(&panel, &axes, &series)?;
        }
        Ok(())
    })?;
    Ok(vec![Artifact::figure("clip_panels", svg)])
}
