//! Chapter 7: the loss of a pair over the difference of its rewards, and its pull.

use anyhow::Result;
use candle_core::{Device, Tensor};
use ppo::policy_gradient::gradient;
use reward::losses::bradley_terry;

use crate::artifacts::Artifact;
use crate::plot::{self, Axes, Mark, Series};

/// Loss of a pair with this margin, and minus its derivative.
pub(crate) fn loss_and_pull(margin: f64) -> Result<(f64, f64)> {
    let chosen = Tensor::new(&[margin], &Device::Cpu)?;
    let loss = |chosen: &Tensor| bradley_terry(chosen, &chosen.zeros_like()?);
    let slope = gradient(&chosen, loss)?.to_vec1::<f64>()?[0];
    Ok((loss(&chosen)?.to_scalar()?, -slope))
}

/// The figure.
pub(crate) fn artifacts() -> Result<Vec<Artifact>> {
    let (mut losses, mut pulls) = (Vec::new(), Vec::new());
    for i in -50..=50 {
        let margin = f64::from(i) / 10.;
        let (loss, pull) = loss_and_pull(margin)?;
        losses.push((margin, loss));
        pulls.push((margin, pull));
    }
    let pairs = [-2., 0., 2.].map(|z| Ok::<_, anyhow::Error>((z, loss_and_pull(z)?.0)));
    let pairs = pairs.into_iter().collect::<Result<Vec<_>>>()?;
    let series = [
        Series::line("loss −log σ", 0, losses),
        Series::line("pull: the probability of the wrong choice", 1, pulls),
        Series::line("", 0, pairs).marked(Mark::Dots),
    ];
    let axes = Axes {
        title: "a pair",
        x: ("reward of the chosen answer less that of the rejected one", -5. ..5.05),
        y: ("", 0. ..5.1),
        x_tick: plot::plain,
    };
    let svg = plot::figure(290, |area| plot::chart(area, &axes, &series))?;
    Ok(vec![Artifact::figure("pair_loss", svg)])
}
