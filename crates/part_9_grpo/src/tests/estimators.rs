//! Mean gradients of the estimators, by enumeration of all samples, against exact gradients.

use anyhow::Result;
use candle_core::{Tensor, Var};
use ppo::Clip;
use tensor_core::backward;
use tensor_core::ops::log_softmax;
use tensor_core::testing::assert_close;

use super::CPU;
use crate::{Aggregation, Baseline, KlLoss, LossInputs, LossLevel, Objective, advantages};

const OBJECTIVE: Objective = Objective {
    level: LossLevel::Token,
    clip_range: Some(Clip { low: 0.2, high: 0.28 }),
    kl: None,
    importance_sampling_cap: None,
};
/// Logits of five completions of one token each, their rewards, and the reference's logits.
const LOGITS: [f64; 5] = [0.3, -1., 0.5, 0.1, -0.4];
const REWARDS: [f64; 5] = [1., 0., 0., 2.5, 0.25];
/// Mean reward of earlier steps, under another policy.
const MOVING_AVERAGE: f64 = 0.4;
const REF_LOGITS: [f64; 5] = [-0.2, 0.4, 0., 0.9, -1.];

fn gradient(loss: &Tensor, var: &Var) -> Result<Tensor> {
    Ok(backward(loss)?.get(var.as_tensor()).expect("a gradient").clone())
}

/// Log-probabilities of the five completions: (5).
fn log_probs(logits: &Tensor) -> Result<Tensor> {
    Ok(log_softmax(&logits.unsqueeze(0)?)?.squeeze(0)?)
}

fn cosine(a: &Tensor, b: &Tensor) -> Result<f64> {
    let dot = |a: &Tensor, b: &Tensor| (a * b)?.sum_all()?.to_scalar::<f64>();
    Ok(dot(a, b)? / (dot(a, a)? * dot(b, b)?).sqrt())
}

/// Mean gradient of the loss over pairs of completions, sampled from the policy: (5).
fn mean_gradient_of_pairs(baseline: Baseline) -> Result<Tensor> {
    let logits = Var::from_tensor(&Tensor::new(&LOGITS, &CPU)?)?;
    let sampling_log_probs = log_probs(&logits.as_detached_tensor())?.to_vec1::<f64>()?;
    let mut total = Tensor::new(&[0f64; 5], &CPU)?;
    for a in 0..5u32 {
        for b in 0..5u32 {
            let rewards = [a, b].map(|i| REWARDS[i as usize] as f32);
            let values = advantages(&rewards, 2, baseline, 1e-4, MOVING_AVERAGE)?;
            let values: Vec<f64> = values.into_iter().map(f64::from).collect();
            let new =
                log_probs(logits.as_tensor())?.index_select(&Tensor::new(&[a, b], &CPU)?, 0)?;
            let inputs = LossInputs {
                behavior_log_probs: new.detach(),
                old_log_probs: None,
                ref_log_probs: None,
                advantages: Tensor::new(values, &CPU)?,
                weights: Tensor::new(&[0.5, 0.5], &CPU)?,
            };
            let p = (sampling_log_probs[a as usize] + sampling_log_probs[b as usize]).exp();
            total = (total + (gradient(&OBJECTIVE.loss(&new, &inputs)?, &logits)? * p)?)?;
        }
    }
    Ok(total)
}

/// Gradient of −E r: (5).
fn exact_policy_gradient() -> Result<Tensor> {
    let logits = Var::from_tensor(&Tensor::new(&LOGITS, &CPU)?)?;
    let p = log_probs(logits.as_tensor())?.exp()?;
    gradient(&(p * Tensor::new(&REWARDS, &CPU)?)?.sum_all()?.neg()?, &logits)
}

#[test]
fn leave_one_out_and_a_moving_average_give_the_exact_gradient() -> Result<()> {
    for baseline in [Baseline::LeaveOneOut, Baseline::MovingAverage] {
        let mean = mean_gradient_of_pairs(baseline)?;
        assert_close(&mean, &exact_policy_gradient()?, 1e-6);
    }
    Ok(())
}

#[test]
fn the_group_mean_scales_the_gradient_and_keeps_its_direction() -> Result<()> {
    let half = (exact_policy_gradient()? * 0.5)?; // (G − 1) / G
    assert_close(&mean_gradient_of_pairs(Baseline::GroupMean)?, &half, 1e-6);
    assert_close(&mean_gradient_of_pairs(Baseline::BatchMean)?, &half, 1e-6);
    Ok(())
}

#[test]
fn the_standard_deviation_changes_the_direction_of_the_gradient() -> Result<()> {
    // In a pair only the order is left: a reward of 2.5 counts like one of 0.25.
    let (mean, exact) = (mean_gradient_of_pairs(Baseline::GroupStd)?, exact_policy_gradient()?);
    let cosine = cosine(&mean, &exact)?;
    assert!(cosine > 0.5 && cosine < 0.99, "{cosine}");
    Ok(())
}

/// Mean gradient of a KL term over completions sampled from the policy, and the gradient of
/// KL(π ‖ π_ref).
fn kl_gradients(kl: impl Fn(&Tensor, &Tensor, &Tensor) -> Result<Tensor>) -> Result<[Tensor; 2]> {
    let logits = Var::from_tensor(&Tensor::new(&LOGITS, &CPU)?)?;
    let reference = log_probs(&Tensor::new(&REF_LOGITS, &CPU)?)?;
    let new = log_probs(logits.as_tensor())?;
    let estimate = kl(&new, &reference, &new.detach())?;
    // The sampling probabilities are not differentiated.
    let mean = (new.detach().exp()? * estimate)?.sum_all()?;
    let mean = gradient(&mean, &logits)?;
    let new = log_probs(logits.as_tensor())?;
    let exact = (new.exp()? * (&new - &reference)?)?.sum_all()?;
    Ok([mean, gradient(&exact, &logits)?])
}

#[test]
fn k2_and_weighted_k3_have_the_gradient_of_the_kl() -> Result<()> {
    for kl in [KlLoss::K2, KlLoss::K3Weighted] {
        let [mean, exact] =
            kl_gradients(|new, reference, old| Ok(kl.per_token(new, reference, old)?))?;
        assert_close(&mean, &exact, 1e-9);
    }
    Ok(())
}

#[test]
fn k3_as_a_loss_has_the_gradient_of_another_divergence() -> Result<()> {
    let [mean, exact] =
        kl_gradients(|new, reference, old| Ok(KlLoss::K3.per_token(new, reference, old)?))?;
    let relative_error = (&mean - &exact)?.sqr()?.sum_all()?.to_scalar::<f64>()?.sqrt()
        / exact.sqr()?.sum_all()?.to_scalar::<f64>()?.sqrt();
    assert!(relative_error > 0.2, "{relative_error}");
    // It is the gradient of KL(π_ref ‖ π): Σ π (1 − π_ref/π) ∇ log π = −Σ π_ref ∇ log π.
    let logits = Var::from_tensor(&Tensor::new(&LOGITS, &CPU)?)?;
    let (new, reference) =
        (log_probs(logits.as_tensor())?, log_probs(&Tensor::new(&REF_LOGITS, &CPU)?)?);
    let other = (reference.exp()? * (&reference - &new)?)?.sum_all()?;
    assert_close(&mean, &gradient(&other, &logits)?, 1e-9);
    Ok(())
}

#[test]
fn k1_as_a_loss_has_mean_gradient_0() -> Result<()> {
    let [mean, exact] = kl_gradients(|new, reference, _| Ok((new - reference)?))?;
    assert_close(&mean, &mean.zeros_like()?, 1e-9);
    assert!(exact.abs()?.max_all()?.to_scalar::<f64>()? > 0.1);
    Ok(())
}

/// Completions of one or two tokens: `e`, `ae`, `aa`, from logits of (a, e) at both positions.
#[test]
fn only_constant_aggregation_is_unbiased_if_lengths_differ() -> Result<()> {
    let logits = Var::from_tensor(&Tensor::new(&[[0.4f64, 0.], [-0.3, 0.2]], &CPU)?)?;
    let token = |position: u32, token: u32| (position * 2 + token) as usize;
    let completions =
        [vec![token(0, 1)], vec![token(0, 0), token(1, 1)], vec![token(0, 0), token(1, 0)]];
    let rewards = [0.2f64, 1., -0.5];
    let token_log_probs = |tokens: &[usize]| -> Result<Tensor> {
        let all = tensor_core::reshape(&log_softmax(logits.as_tensor())?, 4)?;
        let at: Vec<u32> = tokens.iter().map(|&at| at as u32).collect();
        Ok(all.index_select(&Tensor::new(at, &CPU)?, 0)?)
    };
    let mut exact = Tensor::new(0f64, &CPU)?;
    for (completion, reward) in completions.iter().zip(rewards) {
        exact = (exact - (token_log_probs(completion)?.sum_all()?.exp()? * reward)?)?;
    }
    let exact = gradient(&exact, &logits)?;
    // Pairs of completions whose advantages are their rewards (no baseline), so that only the
    // lengths can make a difference.
    let mean = |aggregation: Aggregation| -> Result<Tensor> {
        let mut total = exact.zeros_like()?;
        for (i, a) in completions.iter().enumerate() {
            for (j, b) in completions.iter().enumerate() {
                let log_probs = token_log_probs(&[&a[..], b].concat())?;
                let weights = aggregation.weights(&[a.len(), b.len()], &[true; 2], 2);
                let per_token = |x: [f64; 2]| [vec![x[0]; a.len()], vec![x[1]; b.len()]].concat();
                let inputs = LossInputs {
                    behavior_log_probs: log_probs.detach(),
                    old_log_probs: None,
                    ref_log_probs: None,
                    advantages: Tensor::new(per_token([rewards[i], rewards[j]]), &CPU)?,
                    weights: Tensor::new(
                        per_token([f64::from(weights[0]), f64::from(weights[1])]),
                        &CPU,
                    )?,
                };
                let p = log_probs.sum_all()?.exp()?.to_scalar::<f64>()?;
                let grad = gradient(&OBJECTIVE.loss(&log_probs, &inputs)?, &logits)?;
                total = (total + (grad * p)?)?;
            }
        }
        Ok(total)
    };
    assert_close(&(mean(Aggregation::Constant)? * 2.)?, &exact, 1e-6); // times L
    assert!(cosine(&mean(Aggregation::Sequence)?, &exact)? < 0.999);
    assert!(cosine(&mean(Aggregation::Token)?, &exact)? < 0.999);
    Ok(())
}
