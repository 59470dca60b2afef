//! Chapter 8: what a baseline does to the gradient, with three answers as arrows, and counted out
//! in the world of 125 completions.

use anyhow::Result;
use candle_core::{DType, Device, Tensor};
use plotters::prelude::*;
use plotters::style::text_anchor::HPos;
use ppo::RewardBaseline;
use ppo::gradient_variance::{moments_of_one_sample, reinforce_moments};
use ppo::policy_gradient::{expected_reward_gradient, relative_error};
use ppo::tabular_mdp::{
    N_COMPLETIONS, exact_token_values, expectation_over_completions, random_policy,
};
use tensor_core::Rng;

use crate::artifacts::Artifact;
use crate::plot::{self, INK, PALETTE};

/// Probabilities of three answers.
pub(crate) const PROBS: [f64; 3] = [0.5, 0.3, 0.2];
/// Their rewards.
pub(crate) const REWARDS: [f64; 3] = [3., 4., 5.];

/// Mean reward of the three answers.
pub(crate) fn mean_reward() -> f64 {
    PROBS.iter().zip(REWARDS).map(|(p, r)| p * r).sum()
}

// ANCHOR: three_answers
/// Estimates of the gradient with respect to the three logits, (r(a) − b)(onehot(a) − π), from each
/// answer a that may be sampled.
pub(crate) fn estimates(baseline: f64) -> [[f64; 3]; 3] {
    std::array::from_fn(|a| {
        std::array::from_fn(|v| {
            let onehot = f64::from(u8::from(v == a));
            (REWARDS[a] - baseline) * (onehot - PROBS[v])
        })
    })
}

/// Mean of the estimates, and their variance: the expected square of the distance from the mean.
pub(crate) fn moments(estimates: &[[f64; 3]; 3]) -> ([f64; 3], f64) {
    let mean: [f64; 3] = std::array::from_fn(|v| (0..3).map(|a| PROBS[a] * estimates[a][v]).sum());
    let squared = |e: &[f64; 3]| e.iter().zip(mean).map(|(e, m)| (e - m).powi(2)).sum::<f64>();
    let variance = PROBS.iter().zip(estimates).map(|(p, e)| p * squared(e)).sum();
    (mean, variance)
}
// ANCHOR_END: three_answers

/// Place of a vector of three numbers that sum to 0 in their plane.
fn in_plane(v: [f64; 3]) -> (f64, f64) {
    ((v[0] - v[1]) / 2f64.sqrt(), (v[0] + v[1] - 2. * v[2]) / 6f64.sqrt())
}

fn draw_arrows(area: &plot::Area<'_>, title: &str, baseline: f64) -> Result<()> {
    let estimates = estimates(baseline);
    let (mean, variance) = moments(&estimates);
    let origin = (150, 190);
    let scale = 25.;
    let at = |v: [f64; 3]| {
        let (x, y) = in_plane(v);
        (origin.0 + (scale * x) as i32, origin.1 + (scale * y) as i32)
    };
    plot::text(area, title, (150, 14), HPos::Center)?;
    plot::text(area, &format!("variance {variance:.2}"), (150, 34), HPos::Center)?;
    area.draw(&Circle::new(origin, 3, INK.filled()))?;
    for (i, estimate) in estimates.into_iter().enumerate() {
        let tip = at(estimate);
        let color = PALETTE[i];
        area.draw(&PathElement::new([origin, tip], color.stroke_width(2)))?;
        area.draw(&Circle::new(tip, 4, color.filled()))?;
    }
    let tip = at(mean);
    area.draw(&PathElement::new([origin, tip], INK.stroke_width(4)))?;
    area.draw(&Circle::new(tip, 5, INK.filled()))?;
    Ok(())
}

/// Rewards of the world of 125 completions: part 8's.
fn rewards() -> Result<Tensor> {
    Ok((Rng::new(9).normal_tensor(N_COMPLETIONS, 1., DType::F64, &Device::Cpu)? + 3.)?)
}

/// Length of `estimate` along the gradient `truth`, in lengths of the gradient.
fn length(estimate: &Tensor, truth: &Tensor) -> Result<f64> {
    let along: f64 = (estimate * truth)?.sum_all()?.to_scalar()?;
    Ok(along / truth.sqr()?.sum_all()?.to_scalar::<f64>()?)
}

/// Arrows, and the table of baselines.
pub(crate) fn artifacts() -> Result<Vec<Artifact>> {
    let svg = plot::figure(340, |area| {
        let (left, right) = area.split_horizontally(300);
        draw_arrows(&left, "no baseline", 0.)?;
        draw_arrows(&right, "baseline: mean reward 3.7", mean_reward())?;
        for (i, (p, r)) in PROBS.into_iter().zip(REWARDS).enumerate() {
            let x = 20 + 150 * i as i32;
            area.draw(&Circle::new((x, 322), 4, PALETTE[i].filled()))?;
            plot::text(area, &format!("π = {p}, reward {r}"), (x + 10, 322), HPos::Left)?;
        }
        area.draw(&Circle::new((470, 322), 5, INK.filled()))?;
        plot::text(area, "the mean", (482, 322), HPos::Left)
    })?;
    let (policy, rewards) = (random_policy(1)?, rewards()?);
    let truth = expected_reward_gradient(&policy, &rewards)?;
    let mean: f64 = expectation_over_completions(&policy, &rewards)?.to_scalar()?;
    let values = exact_token_values(&policy, &rewards)?;
    let with_values = rewards.unsqueeze(1)?.broadcast_sub(&values)?; // (Y, T)
    let mut rows = Vec::new();
    let kinds = [
        ("none", Some(RewardBaseline::None)),
        ("mean reward", Some(RewardBaseline::Constant(mean))),
        ("mean of the group", Some(RewardBaseline::GroupMean)),
        ("mean of the others", Some(RewardBaseline::LeaveOneOut)),
        ("true value before each token", None),
    ];
    for (name, baseline) in kinds {
        let mut row = vec![name.to_string()];
        for g in [2, 16] {
            let moments = match baseline {
                Some(baseline) => reinforce_moments(&policy, &rewards, baseline, g)?,
                None => moments_of_one_sample(&policy, &with_values)?.of_mean(g),
            };
            let bias = 100. * relative_error(&moments.mean, &truth)?;
            let at_equal_length = moments.variance / length(&moments.mean, &truth)?.powi(2);
            let variances = [moments.variance, at_equal_length].map(|v| format!("{v:.3}"));
            row.extend([vec![format!("{bias:.1} %")], variances.to_vec()].concat());
        }
        rows.push(row);
    }
    let of_group =
        |g: usize| [format!("bias, G = {g}"), "variance".into(), "at equal length".into()];
    let header =
        [vec!["baseline".to_string()], of_group(2).to_vec(), of_group(16).to_vec()].concat();
    let header: Vec<&str> = header.iter().map(String::as_str).collect();
    Ok(vec![Artifact::figure("baseline_arrows", svg), Artifact::table("baselines", &header, &rows)])
}
