//! Chapter 8: the estimators of the KL as curves, and what they are worth as a value and as a loss.

use anyhow::Result;
use candle_core::{Device, Tensor};
use ppo::KlEstimator::{self, K1, K2, K3};
use ppo::policy_gradient::{gradient, policy_gradient, relative_error};
use ppo::tabular_mdp::{
    completion_probs, expectation_over_completions, log_probs, random_policy,
    variance_over_completions,
};

use crate::artifacts::Artifact;
use crate::plot::{self, Axes, Series};

/// Names of the estimators.
const ESTIMATORS: [(&str, KlEstimator); 3] = [("k1", K1), ("k2", K2), ("k3", K3)];

/// Bias and standard deviation of an estimator, and the errors of its gradients relative to that of
/// the KL.
pub(crate) struct EstimatorRow {
    pub(crate) mean: f64,
    pub(crate) deviation: f64,
    /// As part of the reward.
    pub(crate) reward_error: f64,
    /// As part of the loss.
    pub(crate) loss_error: f64,
}

/// Reference in the world of 125 completions, far from the policy or close to it.
pub(crate) fn reference(is_close: bool) -> Result<Tensor> {
    let other = random_policy(2)?;
    if is_close { Ok((random_policy(1)? + (other * 0.1)?)?) } else { Ok(other) }
}

/// Counts out `estimator` in the world of 125 completions.
pub(crate) fn measure(estimator: KlEstimator, reference: &Tensor) -> Result<EstimatorRow> {
    let policy = random_policy(1)?;
    let sums = |policy: &Tensor| log_probs(policy)?.sum(1); // (Y)
    let (log_p, log_q) = (sums(&policy)?, sums(reference)?);
    let truth = gradient(&policy, |p| expectation_over_completions(p, &(sums(p)? - &log_q)?))?;
    let estimates = estimator.estimate(&log_p, &log_q)?; // (Y)
    let as_reward = policy_gradient(&policy, &estimates.unsqueeze(1)?)?;
    let probs = completion_probs(&policy)?; // of the samples: not differentiated
    let as_loss =
        gradient(&policy, |p| (estimator.estimate(&sums(p)?, &log_q)? * &probs)?.sum_all())?;
    Ok(EstimatorRow {
        mean: expectation_over_completions(&policy, &estimates)?.to_scalar()?,
        deviation: variance_over_completions(&policy, &estimates)?.to_scalar::<f64>()?.sqrt(),
        reward_error: relative_error(&as_reward, &truth)?,
        loss_error: relative_error(&as_loss, &truth)?,
    })
}

/// Curves and table.
pub(crate) fn artifacts() -> Result<Vec<Artifact>> {
    let log_ratios: Vec<f64> = (-100..=100).map(|i| f64::from(i) / 50.).collect();
    let ratio = Tensor::new(&log_ratios[..], &Device::Cpu)?;
    let zero = ratio.zeros_like()?;
    let mut series = Vec::new();
    let mut rows = Vec::new();
    for (color, (name, estimator)) in ESTIMATORS.into_iter().enumerate() {
        let values: Vec<f64> = estimator.estimate(&zero, &ratio)?.to_vec1()?;
        series.push(Series::line(name, color, log_ratios.iter().copied().zip(values).collect()));
    }
    for (policies, is_close) in [("far apart", false), ("close", true)] {
        for (name, estimator) in ESTIMATORS {
            let row = measure(estimator, &reference(is_close)?)?;
            let percent = |error: f64| format!("{:.0} %", 100. * error);
            rows.push(vec![
                policies.to_string(),
                name.to_string(),
                format!("{:.4}", row.mean),
                format!("{:.4}", row.deviation),
                percent(row.reward_error),
                percent(row.loss_error),
            ]);
        }
    }
    let axes = Axes {
        title: "three estimates of the KL from one sampled token",
        x: ("log π_ref − log π of the token", -2. ..2.05),
        y: ("estimate, nats", -2. ..4.5),
        x_tick: plot::plain,
    };
    let svg = plot::figure(310, |area| plot::chart(area, &axes, &series))?;
    let header = [
        "policies",
        "estimator",
        "mean",
        "standard deviation",
        "gradient error, as reward",
        "as loss",
    ];
    Ok(vec![
        Artifact::figure("kl_estimators", svg),
        Artifact::table("kl_estimators", &header, &rows),
    ])
}
