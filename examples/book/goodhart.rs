//! Chapter 7: a judge that is wrong about a few answers, and a policy that is optimized against it,
//! in the world of 125 completions. The best policy for every β is known, so nothing is trained.

use anyhow::Result;
use candle_core::{DType, Device};
use ppo::tabular_mdp::{N_COMPLETIONS, completion_probs, random_policy};
use tensor_core::Rng;

use crate::artifacts::Artifact;
use crate::plot::{self, Axes, Series};

/// Completions that the judge overrates, and by how much.
const OVERRATED: usize = 2;
const ERROR: f64 = 5.;

/// Policy that is best for the judge at some β, compared with the reference.
pub(crate) struct Optimum {
    /// KL to the reference, in nats.
    pub(crate) kl: f64,
    /// Mean score of the judge.
    pub(crate) proxy: f64,
    /// Mean true reward.
    pub(crate) truth: f64,
}

/// True rewards and the judge's scores. The judge agrees with the truth but for the two worst
/// answers, which it likes.
pub(crate) fn scores() -> Result<(Vec<f64>, Vec<f64>)> {
    let device = Device::Cpu;
    let truth: Vec<f64> =
        Rng::new(9).normal_tensor(N_COMPLETIONS, 1., DType::F64, &device)?.to_vec1()?;
    let mut order: Vec<usize> = (0..N_COMPLETIONS).collect();
    order.sort_by(|&a, &b| truth[a].total_cmp(&truth[b]));
    let mut proxy = truth.clone();
    for &y in &order[..OVERRATED] {
        proxy[y] += ERROR;
    }
    Ok((truth, proxy))
}

// ANCHOR: optimum
/// The policy π* ∝ π₀ exp(proxy / β).
pub(crate) fn optimum(beta: f64) -> Result<Optimum> {
    let reference: Vec<f64> = completion_probs(&random_policy(1)?)?.to_vec1()?;
    let (truth, proxy) = scores()?;
    let weights: Vec<f64> =
        reference.iter().zip(&proxy).map(|(p, score)| p * (score / beta).exp()).collect();
    let z: f64 = weights.iter().sum();
    let policy: Vec<f64> = weights.iter().map(|weight| weight / z).collect();
    let mean = |x: &[f64]| policy.iter().zip(x).map(|(p, x)| p * x).sum();
    let kl = policy.iter().zip(&reference).map(|(p, q)| p * (p / q).ln()).sum();
    Ok(Optimum { kl, proxy: mean(&proxy), truth: mean(&truth) })
}
// ANCHOR_END: optimum

/// Optima from a strong leash to nearly none.
pub(crate) fn optima() -> Result<Vec<Optimum>> {
    (0..=80).map(|i| optimum(20. * 10f64.powf(-f64::from(i) / 32.))).collect()
}

/// The figure.
pub(crate) fn artifacts() -> Result<Vec<Artifact>> {
    let optima = optima()?;
    let curve = |of: fn(&Optimum) -> f64| optima.iter().map(|at| (at.kl, of(at))).collect();
    let series = [
        Series::line("what the judge says", 1, curve(|at| at.proxy)),
        Series::line("what it is worth", 0, curve(|at| at.truth)),
    ];
    let axes = Axes {
        title: "the best policies for a judge that is wrong about 2 of 125 answers",
        x: ("KL to the reference, nats", 0. ..4.5),
        y: ("mean score", -2.6..3.8),
        x_tick: plot::plain,
    };
    let svg = plot::figure(310, |area| plot::chart(area, &axes, &series))?;
    Ok(vec![Artifact::figure("goodhart", svg)])
}
