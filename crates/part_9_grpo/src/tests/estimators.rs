//! The estimators' mean gradients, by enumerating everything that could be drawn, beside the gradients that are meant.

use anyhow::Result;
use candle_core::{Tensor, Var};
use tensor_core::backward;
use tensor_core::ops::log_softmax;
use tensor_core::testing::assert_close;

use super::CPU;
use crate::{Aggregation, Baseline, Kl, LossInputs, Objective, advantages};
use ppo::Clip;

const CLIP: Clip = Clip { low: 0.2, high: 0.28 };
/// Scores of five answers of one token each, and what they earn.
const LOGITS: [f64; 5] = [0.3, -1., 0.5, 0.1, -0.4];
const REWARDS: [f64; 5] = [1., 0., 0., 2.5, 0.25];
const REF_LOGITS: [f64; 5] = [-0.2, 0.4, 0., 0.9, -1.];

fn gradient(loss: &Tensor, of: &Var) -> Result<Tensor> {
    Ok(backward(loss)?.get(of.as_tensor()).expect("a gradient").clone())
}

/// log π of the five answers: (5).
fn log_probs(scores: &Tensor) -> Result<Tensor> {
    Ok(log_softmax(&scores.unsqueeze(0)?)?.squeeze(0)?)
}

fn cosine(a: &Tensor, b: &Tensor) -> Result<f64> {
    let dot = |a: &Tensor, b: &Tensor| (a * b)?.sum_all()?.to_scalar::<f64>();
    Ok(dot(a, b)? / (dot(a, a)? * dot(b, b)?).sqrt())
}

/// The mean gradient of a loss of pairs of answers, drawn from the policy: (5).
fn mean_gradient_of_pairs(baseline: Baseline) -> Result<Tensor> {
    let scores = Var::from_tensor(&Tensor::new(&LOGITS, &CPU)?)?;
    let fixed = log_probs(&scores.as_detached_tensor())?.to_vec1::<f64>()?;
    let mut total = Tensor::new(&[0f64; 5], &CPU)?;
    for a in 0..5u32 {
        for b in 0..5u32 {
            let earned = [a, b].map(|i| REWARDS[i as usize] as f32);
            let values = advantages(&earned, 2, baseline, 1e-4)?;
            let values: Vec<f64> = values.into_iter().map(f64::from).collect();
            let new =
                log_probs(scores.as_tensor())?.index_select(&Tensor::new(&[a, b], &CPU)?, 0)?;
            let drawn = LossInputs {
                behavior_log_probs: new.detach(),
                old_log_probs: None,
                ref_log_probs: None,
                advantages: Tensor::new(values, &CPU)?,
                weights: Tensor::new(&[0.5, 0.5], &CPU)?,
            };
            let objective = Objective { clip_range: CLIP, kl: None, importance_sampling_cap: None };
            let p = (fixed[a as usize] + fixed[b as usize]).exp();
            total = (total + (gradient(&objective.loss(&new, &drawn)?, &scores)? * p)?)?;
        }
    }
    Ok(total)
}

/// The gradient of −E r: (5).
fn exact_policy_gradient() -> Result<Tensor> {
    let scores = Var::from_tensor(&Tensor::new(&LOGITS, &CPU)?)?;
    let p = log_probs(scores.as_tensor())?.exp()?;
    gradient(&(p * Tensor::new(&REWARDS, &CPU)?)?.sum_all()?.neg()?, &scores)
}

#[test]
fn leaving_oneself_out_of_the_baseline_gives_the_gradient_itself() -> Result<()> {
    let found = mean_gradient_of_pairs(Baseline::LeaveOneOut)?;
    Ok(assert_close(&found, &exact_policy_gradient()?, 1e-6)?)
}

#[test]
fn the_group_s_mean_shrinks_the_gradient_and_keeps_its_direction() -> Result<()> {
    let half = (exact_policy_gradient()? * 0.5)?; // (G − 1) / G
    assert_close(&mean_gradient_of_pairs(Baseline::GroupMean)?, &half, 1e-6)?;
    Ok(assert_close(&mean_gradient_of_pairs(Baseline::BatchMean)?, &half, 1e-6)?)
}

#[test]
fn the_standard_deviation_bends_the_gradient() -> Result<()> {
    // In pairs only who is better is left: a reward of 2.5 counts like one of 0.25.
    let (found, exact) = (mean_gradient_of_pairs(Baseline::GroupStd)?, exact_policy_gradient()?);
    let cosine = cosine(&found, &exact)?;
    assert!(cosine > 0.5 && cosine < 0.99, "{cosine}");
    Ok(())
}

/// The mean gradient of a KL term over answers drawn from the policy, and the gradient of KL(π ‖ π_ref).
fn kl_gradients(kl: impl Fn(&Tensor, &Tensor, &Tensor) -> Result<Tensor>) -> Result<[Tensor; 2]> {
    let scores = Var::from_tensor(&Tensor::new(&LOGITS, &CPU)?)?;
    let reference = log_probs(&Tensor::new(&REF_LOGITS, &CPU)?)?;
    let new = log_probs(scores.as_tensor())?;
    let estimate = kl(&new, &reference, &new.detach())?;
    let mean = (new.detach().exp()? * estimate)?.sum_all()?; // the answers' chances are not differentiated
    let mean = gradient(&mean, &scores)?;
    let new = log_probs(scores.as_tensor())?;
    let exact = (new.exp()? * (&new - &reference)?)?.sum_all()?;
    Ok([mean, gradient(&exact, &scores)?])
}

#[test]
fn k2_and_weighted_k3_have_the_gradient_of_the_kl() -> Result<()> {
    for kl in [Kl::K2, Kl::K3Weighted] {
        let [found, exact] =
            kl_gradients(|new, reference, old| Ok(kl.per_token(new, reference, old)?))?;
        assert_close(&found, &exact, 1e-9)?;
    }
    Ok(())
}

#[test]
fn k3_as_a_loss_has_the_gradient_of_another_divergence() -> Result<()> {
    let [found, exact] =
        kl_gradients(|new, reference, old| Ok(Kl::K3.per_token(new, reference, old)?))?;
    let off = (&found - &exact)?.sqr()?.sum_all()?.to_scalar::<f64>()?.sqrt()
        / exact.sqr()?.sum_all()?.to_scalar::<f64>()?.sqrt();
    assert!(off > 0.2, "{off}");
    // It is that of KL(π_ref ‖ π): Σ π (1 − π_ref/π) ∇ log π = −Σ π_ref ∇ log π.
    let scores = Var::from_tensor(&Tensor::new(&LOGITS, &CPU)?)?;
    let (new, reference) =
        (log_probs(scores.as_tensor())?, log_probs(&Tensor::new(&REF_LOGITS, &CPU)?)?);
    let other = (reference.exp()? * (&reference - &new)?)?.sum_all()?;
    Ok(assert_close(&found, &gradient(&other, &scores)?, 1e-9)?)
}

#[test]
fn k1_as_a_loss_does_nothing() -> Result<()> {
    let [found, exact] = kl_gradients(|new, reference, _| Ok((new - reference)?))?;
    assert_close(&found, &found.zeros_like()?, 1e-9)?;
    assert!(exact.abs()?.max_all()?.to_scalar::<f64>()? > 0.1);
    Ok(())
}

/// Texts of one or two tokens: `e`, `ae`, `aa`, from the scores of (a, e) at each of the two places.
#[test]
fn only_a_constant_weight_keeps_the_gradient_where_lengths_differ() -> Result<()> {
    let scores = Var::from_tensor(&Tensor::new(&[[0.4f64, 0.], [-0.3, 0.2]], &CPU)?)?;
    let token = |place: u32, token: u32| (place * 2 + token) as usize;
    let texts = [vec![token(0, 1)], vec![token(0, 0), token(1, 1)], vec![token(0, 0), token(1, 0)]];
    let rewards = [0.2f64, 1., -0.5];
    let of = |text: &[usize]| -> Result<Tensor> {
        let all = tensor_core::reshape(&log_softmax(scores.as_tensor())?, 4)?;
        let at: Vec<u32> = text.iter().map(|&at| at as u32).collect();
        Ok(all.index_select(&Tensor::new(at, &CPU)?, 0)?)
    };
    let mut exact = Tensor::new(0f64, &CPU)?;
    for (text, reward) in texts.iter().zip(rewards) {
        exact = (exact - (of(text)?.sum_all()?.exp()? * reward)?)?;
    }
    let exact = gradient(&exact, &scores)?;
    // Pairs of texts whose advantages are their rewards (no baseline), so that lengths alone make the difference.
    let mean = |aggregation: Aggregation| -> Result<Tensor> {
        let mut total = exact.zeros_like()?;
        for (i, a) in texts.iter().enumerate() {
            for (j, b) in texts.iter().enumerate() {
                let log_probs = of(&[&a[..], b].concat())?;
                let weights = aggregation.weights(&[a.len(), b.len()], &[true; 2], 2);
                let spread = |x: [f64; 2]| [vec![x[0]; a.len()], vec![x[1]; b.len()]].concat();
                let drawn = LossInputs {
                    behavior_log_probs: log_probs.detach(),
                    old_log_probs: None,
                    ref_log_probs: None,
                    advantages: Tensor::new(spread([rewards[i], rewards[j]]), &CPU)?,
                    weights: Tensor::new(
                        spread([f64::from(weights[0]), f64::from(weights[1])]),
                        &CPU,
                    )?,
                };
                let objective =
                    Objective { clip_range: CLIP, kl: None, importance_sampling_cap: None };
                let p = log_probs.sum_all()?.exp()?.to_scalar::<f64>()?;
                let found = gradient(&objective.loss(&log_probs, &drawn)?, &scores)?;
                total = (total + (found * p)?)?;
            }
        }
        Ok(total)
    };
    assert_close(&(mean(Aggregation::Constant)? * 2.)?, &exact, 1e-6)?; // times the budget
    assert!(cosine(&mean(Aggregation::Sequence)?, &exact)? < 0.999);
    assert!(cosine(&mean(Aggregation::Token)?, &exact)? < 0.999);
    Ok(())
}
