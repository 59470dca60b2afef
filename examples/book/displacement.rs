//! Chapter 10: likelihood displacement. Two answers of a pair are nearly alike, and what tells them
//! apart is strongest in a third: DPO's margin grows, and both become less likely.

use anyhow::Result;
use candle_core::{Device, Tensor};
use dpo::{BatchLogProbs, LossTotals};
use dpo::{DpoLoss, Label};
use ppo::policy_gradient::gradient;
use tensor_core::ops::log_softmax;

use crate::artifacts::Artifact;
use crate::plot::{self, Axes, Mark, Series};

/// Probabilities of the chosen answer, the rejected one, and one of no pair under the reference.
pub(crate) const REFERENCE: [f64; 3] = [0.7, 0.2, 0.1];
/// Their features. Chosen and rejected differ in the second one alone.
pub(crate) const FEATURES: [[f64; 2]; 3] = [[1., 0.2], [1., -0.2], [-1., 2.]];
pub(crate) const BETA: f64 = 0.5;
const STEPS: usize = 30;

// ANCHOR: train
/// Log-probabilities of the three answers after each step of gradient descent on DPO's loss of the
/// one pair, with weights of two features.
pub(crate) fn train(beta: f64, sft_weight: f64) -> Result<Vec<[f64; 3]>> {
    let loss = DpoLoss { sft_weight, ..DpoLoss::sigmoid(beta) };
    let totals = LossTotals { n_losses: 1, n_chosen_tokens: 1, kl: 0. };
    let reference = Tensor::new(&REFERENCE, &Device::Cpu)?.log()?; // (3)
    let features = Tensor::new(&FEATURES, &Device::Cpu)?; // (3, 2)
    let log_probs =
        |w: &Tensor| log_softmax(&(&reference + features.matmul(&w.unsqueeze(1)?)?.squeeze(1)?)?);
    let mut weights = Tensor::new(&[0f64, 0.], &Device::Cpu)?;
    let mut path = vec![REFERENCE.map(f64::ln)];
    for _ in 0..STEPS {
        let gradient = gradient(&weights, |w| {
            let labels = vec![Label::Chosen, Label::Rejected];
            let [chosen, rejected, _] = REFERENCE.map(f64::ln);
            let pair = log_probs(w)?.narrow(0, 0, 2)?;
            let pair = BatchLogProbs::new(&pair, &[chosen, rejected], &[1, 1], labels)?;
            loss.compute(&pair, &totals)
        })?;
        weights = (weights - gradient)?.detach(); // a learning rate of 1
        let now: Vec<f64> = log_probs(&weights)?.to_vec1()?;
        path.push([now[0], now[1], now[2]]);
    }
    Ok(path)
}
// ANCHOR_END: train

/// The figure.
pub(crate) fn artifacts() -> Result<Vec<Artifact>> {
    let (plain, with_sft) = (train(BETA, 0.)?, train(BETA, 0.2)?);
    let curve = |path: &[[f64; 3]], answer: usize| -> Vec<(f64, f64)> {
        (0..).zip(path).map(|(step, at)| (f64::from(step), at[answer])).collect()
    };
    let series = [
        Series::line("chosen", 0, curve(&plain, 0)),
        Series::line("rejected", 1, curve(&plain, 1)),
        Series::line("of no pair", 2, curve(&plain, 2)),
        Series::line("chosen, SFT weight 0.2", 0, curve(&with_sft, 0)).marked(Mark::Dashed),
    ];
    let axes = Axes {
        title: "DPO on one pair: the margin grows, and both sides fall",
        x: ("step", 0. ..30.3),
        y: ("log π", -5.4..0.1),
        x_tick: plot::plain,
    };
    let svg = plot::figure(320, |area| plot::chart(area, &axes, &series))?;
    Ok(vec![Artifact::figure("displacement", svg)])
}
