//! Chapter 10: DPO's loss and three of its relatives over the difference of the log-ratios.

use anyhow::Result;
use candle_core::{Device, Tensor};
use dpo::BatchLogProbs;
use dpo::{DpoLoss, Label, LossType};

use crate::artifacts::Artifact;
use crate::plot::{self, Axes, Series};

pub(crate) const BETA: f64 = 0.5;

/// Loss of pairs of one-token completions with the differences `deltas` of their log-ratios.
pub(crate) fn losses(loss_type: LossType, beta: f64, deltas: &[f64]) -> Result<Vec<f64>> {
    let side = |log_probs: &[f64], label: Label| -> Result<BatchLogProbs> {
        let n = log_probs.len();
        let policy = Tensor::new(log_probs, &Device::Cpu)?;
        Ok(BatchLogProbs::new(&policy, &vec![0.; n], &vec![1; n], vec![label; n])?)
    };
    let chosen = side(deltas, Label::Chosen)?;
    let rejected = side(&vec![0.; deltas.len()], Label::Rejected)?;
    let loss = DpoLoss { loss_type, beta, sft_weight: 0. };
    Ok(loss.pair_losses(&chosen, &rejected)?.to_vec1()?)
}

/// The figure.
pub(crate) fn artifacts() -> Result<Vec<Artifact>> {
    const TOP: f64 = 3.5;
    let deltas: Vec<f64> = (-80..=120).map(|i| f64::from(i) / 10.).collect();
    let kinds = [
        ("DPO", LossType::Sigmoid { label_smoothing: 0. }),
        ("conservative DPO, ε = 0.1", LossType::Sigmoid { label_smoothing: 0.1 }),
        ("hinge", LossType::Hinge),
        ("IPO", LossType::Ipo),
    ];
    let mut series = Vec::new();
    for (color, (name, loss_type)) in kinds.into_iter().enumerate() {
        let points = deltas.iter().copied().zip(losses(loss_type, BETA, &deltas)?);
        let points = points.filter(|(_, loss)| *loss <= TOP).collect();
        series.push(Series::line(name, color, points));
    }
    let axes = Axes {
        title: "loss of a pair, β = 0.5",
        x: ("Δ, the difference of the log-ratios of chosen and rejected", -8. ..12.2),
        y: ("loss", 0. ..TOP + 0.1),
        x_tick: plot::plain,
    };
    let svg = plot::figure(330, |area| plot::chart(area, &axes, &series))?;
    Ok(vec![Artifact::figure("dpo_losses", svg)])
}
