//! Chapter 10: the implicit rewards that DPO learns in the world of 125 completions, beside the
//! rewards by which its pairs were labeled.

use anyhow::Result;
use candle_core::{Device, Tensor};
use dpo::tabular_dpo::{completion_log_probs, minimize_exact_loss};
use dpo::{implicit_reward, optimal_log_probs};
use ppo::tabular_mdp::{N_COMPLETIONS, random_policy};
use tensor_core::Rng;

use crate::artifacts::Artifact;
use crate::plot::{self, Axes, Mark, Series};

const BETA: f64 = 0.5;
const LR: f64 = 60.;

/// Rewards, implicit rewards, both with mean 0, and the distance from the best policy, Σ |π − π*|,
/// after `steps` steps of gradient descent on the loss of all pairs.
pub(crate) struct Learned {
    pub(crate) rewards: Vec<f64>,
    pub(crate) implicit: Vec<f64>,
    pub(crate) distance: f64,
}

pub(crate) fn learn(steps: usize) -> Result<Learned> {
    let reference = random_policy(1)?;
    let ref_log_probs = completion_log_probs(&reference)?; // (Y)
    let mut rng = Rng::new(2);
    let rewards: Vec<f64> = (0..N_COMPLETIONS).map(|_| rng.uniform()).collect();
    let rewards = Tensor::new(rewards, &Device::Cpu)?;
    let policy = minimize_exact_loss(&reference, &ref_log_probs, &rewards, BETA, (steps, LR))?;
    let log_probs = completion_log_probs(&policy)?;
    let optimum = optimal_log_probs(&ref_log_probs, &rewards, BETA)?;
    let distance = (log_probs.exp()? - optimum.exp()?)?.abs()?.sum_all()?.to_scalar()?;
    let centered =
        |x: &Tensor| -> Result<Vec<f64>> { Ok(x.broadcast_sub(&x.mean_all()?)?.to_vec1()?) };
    let implicit = implicit_reward(&log_probs, &ref_log_probs, BETA)?;
    Ok(Learned { rewards: centered(&rewards)?, implicit: centered(&implicit)?, distance })
}

/// The figure.
pub(crate) fn artifacts() -> Result<Vec<Artifact>> {
    let (early, late) = (learn(10)?, learn(300)?);
    let name = |steps, learned: &Learned| {
        format!("after {steps} steps, Σ|π − π*| = {:.4}", learned.distance)
    };
    let (early_name, late_name) = (name(10, &early), name(300, &late));
    let dots = |learned: Learned| learned.rewards.into_iter().zip(learned.implicit).collect();
    let series = [
        Series::line("equal", 2, vec![(-0.55, -0.55), (0.55, 0.55)]).marked(Mark::Dashed),
        Series::line(&early_name, 1, dots(early)).marked(Mark::Dots),
        Series::line(&late_name, 0, dots(late)).marked(Mark::Dots),
    ];
    let axes = Axes {
        title: "125 completions: what the pairs knew, and what the policy implies",
        x: ("reward, less its mean", -0.56..0.57),
        y: ("β log(π/π₀), less its mean", -0.6..0.6),
        x_tick: plot::plain,
    };
    let svg = plot::figure(380, |area| plot::chart(area, &axes, &series))?;
    Ok(vec![Artifact::figure("implicit_rewards", svg)])
}
