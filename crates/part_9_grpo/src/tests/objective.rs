//! 9.3, 9.4: all aggregations with all KL terms, against TRL's formulas.

use anyhow::Result;
use candle_core::{DType, Tensor, Var};
use clap::ValueEnum;
use ppo::{Clip, clipped_surrogate};
use serde_json::Value;
use tensor_core::backward;
use tensor_core::testing::assert_close;

use super::{CPU, golden, tensor};
use crate::reinforce::sequence_loss;
use crate::{Aggregation, KlLoss, LossInputs, LossLevel, Objective, OverlongHandling};

fn parse_value_enum<T: ValueEnum>(name: &Value) -> Option<T> {
    name.as_str().map(|name| T::from_str(name, false).expect("a name"))
}

/// Value of each completion, repeated for each of its tokens: (N).
fn repeat_per_token(values: &[f64], lengths: &[usize]) -> Result<Tensor> {
    let tokens = values.iter().zip(lengths).flat_map(|(value, n)| vec![*value; *n]);
    Ok(Tensor::new(tokens.collect::<Vec<_>>(), &CPU)?)
}

#[test]
fn losses_and_gradients_match_the_formulas_of_trl() -> Result<()> {
    let golden = golden();
    let lengths: Vec<usize> = serde_json::from_value(golden["lengths"].clone())?;
    let group_advantages: Vec<f64> =
        serde_json::from_value(golden["advantages"]["group-std"].clone())?;
    let max_new_tokens = golden["budget"].as_u64().expect("a number") as usize;
    let [low, high] = [0, 1].map(|i| golden["clip"][i].as_f64().expect("a bound"));
    let cases = golden["cases"].as_array().expect("cases");
    assert_eq!(cases.len(), 3 * 4 * 2 * 2);
    for case in cases {
        let aggregation: Aggregation = parse_value_enum(&case["aggregation"]).expect("one");
        let truncated: Vec<usize> = serde_json::from_value(case["truncated"].clone())?;
        let included: Vec<bool> = (0..lengths.len()).map(|i| !truncated.contains(&i)).collect();
        // TRL's mean over sequences divides by the excluded ones too; ours does not.
        let trl_factor = match aggregation {
            Aggregation::Sequence => 1. - truncated.len() as f64 / lengths.len() as f64,
            _ => 1.,
        };
        let weights = aggregation.weights(&lengths, &included, max_new_tokens);
        let weights: Vec<f64> = weights.into_iter().map(|w| trl_factor * f64::from(w)).collect();
        let inputs = LossInputs {
            behavior_log_probs: tensor(&golden["behaviour"])?,
            old_log_probs: Some(tensor(&golden["old"])?),
            ref_log_probs: Some(tensor(&golden["reference"])?),
            advantages: repeat_per_token(&group_advantages, &lengths)?,
            weights: repeat_per_token(&weights, &lengths)?,
        };
        let objective = Objective {
            level: LossLevel::Token,
            clip_range: Some(Clip { low, high }),
            kl: parse_value_enum::<KlLoss>(&case["kl"])
                .map(|kl| (kl, golden["beta"].as_f64().expect("β"))),
            importance_sampling_cap: case["cap"].as_f64(),
        };
        let log_probs = Var::from_tensor(&tensor(&golden["new"])?)?;
        let loss = objective.loss(log_probs.as_tensor(), &inputs)?;
        // The weights are f32, so six digits agree.
        assert_close(&loss, &Tensor::new(case["loss"].as_f64().expect("a loss"), &CPU)?, 1e-6);
        let grads = backward(&loss)?;
        let gradient = grads.get(log_probs.as_tensor()).expect("a gradient");
        assert_close(gradient, &tensor(&case["gradient"])?, 1e-6);
    }
    Ok(())
}

#[test]
fn aggregation_weights_sum_to_1_or_the_used_share_of_the_constant() {
    let (lengths, all) = ([3, 1, 0, 6], [true; 4]);
    let sum = |aggregation: Aggregation, included: &[bool]| -> f32 {
        let weights = aggregation.weights(&lengths, included, 10);
        weights.iter().zip(lengths).map(|(weight, n)| weight * n as f32).sum()
    };
    assert_close(sum(Aggregation::Sequence, &all), 0.75, 1e-6); // one of the four is empty
    assert_close(sum(Aggregation::Token, &all), 1., 1e-6);
    assert_close(sum(Aggregation::Constant, &all), 10. / 40., 1e-6);
    // Excluded completions leave numerator and denominator, except for the constant.
    let included = [true, false, false, true];
    assert_close(sum(Aggregation::Sequence, &included), 1., 1e-6);
    assert_close(sum(Aggregation::Token, &included), 1., 1e-6);
    assert_close(sum(Aggregation::Constant, &included), 9. / 40., 1e-6);
    for aggregation in Aggregation::value_variants() {
        assert_eq!(aggregation.weights(&lengths, &[false; 4], 10), [0.; 4], "0, not NaN");
    }
}

#[test]
fn the_loss_matches_an_example_computed_by_hand() -> Result<()> {
    // Ratio 1.2 clipped to 1.1, advantage 1, KL 0.5 with coefficient 0.1.
    let log_probs = Tensor::new(&[1.2f64.ln()], &CPU)?;
    let zero = Tensor::zeros(1, DType::F64, &CPU)?;
    let one = zero.ones_like()?;
    let policy = clipped_surrogate(&log_probs, &zero, &one, Clip { low: 0.1, high: 0.1 })?;
    assert_close(&policy, &Tensor::new(&[-1.1], &CPU)?, 1e-12);
    // k2 of log-ratio 1 is 0.5.
    let inputs = LossInputs {
        behavior_log_probs: zero.clone(),
        old_log_probs: None,
        ref_log_probs: Some((&log_probs + 1.)?),
        advantages: one.clone(),
        weights: one,
    };
    let objective = Objective {
        level: LossLevel::Token,
        clip_range: Some(Clip { low: 0.1, high: 0.1 }),
        kl: Some((KlLoss::K2, 0.1)),
        importance_sampling_cap: None,
    };
    assert_close(&objective.loss(&log_probs, &inputs)?, &Tensor::new(-1.05, &CPU)?, 1e-12);
    // Without clipping, the ratio 1.2 counts in full.
    let unclipped = Objective { clip_range: None, ..objective };
    assert_close(&unclipped.loss(&log_probs, &inputs)?, &Tensor::new(-1.15, &CPU)?, 1e-12);
    Ok(())
}

#[test]
fn k3_of_a_log_ratio_matches_the_book() -> Result<()> {
    let log_ratio = Tensor::new(&[0.1f64, -0.5], &CPU)?;
    let k3 = KlLoss::K3.per_token(&log_ratio.zeros_like()?, &log_ratio, &log_ratio)?;
    assert_close(&k3, &Tensor::new(&[0.005_171, 0.106_531], &CPU)?, 1e-6);
    Ok(())
}

#[test]
fn huge_log_ratios_give_finite_kl_terms() -> Result<()> {
    let zero = Tensor::zeros(2, DType::F32, &CPU)?;
    let far = Tensor::new(&[-1e4f32, 1e4], &CPU)?;
    for kl in KlLoss::value_variants() {
        let values = kl.per_token(&zero, &far, &(&far * -1.)?)?.to_vec1::<f32>()?;
        assert!(values.iter().all(|x| x.is_finite()), "{kl:?} {values:?}");
    }
    Ok(())
}

#[test]
fn missing_inputs_of_a_term_are_reported() -> Result<()> {
    let zero = Tensor::zeros(2, DType::F32, &CPU)?;
    let [behavior_log_probs, advantages, weights] = [(); 3].map(|()| zero.clone());
    let inputs = LossInputs {
        behavior_log_probs,
        old_log_probs: None,
        ref_log_probs: None,
        advantages,
        weights,
    };
    let error = |kl, importance_sampling_cap| {
        let (level, clip_range) = (LossLevel::Token, Some(Clip::symmetric(0.2)));
        let objective = Objective { level, clip_range, kl, importance_sampling_cap };
        objective.loss(&zero, &inputs).expect_err("refused").to_string()
    };
    assert!(error(Some((KlLoss::K3, 0.1)), None).contains("needs ref_log_probs"));
    assert!(error(None, Some(2.)).contains("needs old_log_probs"));
    Ok(())
}

#[test]
fn reinforce_has_the_gradient_of_the_surrogate_at_ratio_1() -> Result<()> {
    // Two completions of one token each, with policy and reference equal.
    let log_probs = Var::from_tensor(&Tensor::new(&[-0.5f64, -1.5], &CPU)?)?;
    let (x, fixed) = (log_probs.as_tensor(), log_probs.as_detached_tensor());
    let (advantages, weights) =
        (Tensor::new(&[1f64, -1.], &CPU)?, Tensor::new(&[0.5f64, 0.5], &CPU)?);
    let simple = sequence_loss(x, &advantages, &weights, Some((&fixed, 0.05)))?;
    let clipped = clipped_surrogate(x, &fixed, &advantages, Clip { low: 0.2, high: 0.2 })?;
    let gradient = |loss: &Tensor| -> Result<Tensor> {
        Ok(backward(loss)?.get(x).expect("a gradient").clone())
    };
    assert_close(&gradient(&simple)?, &gradient(&clipped.mean_all()?)?, 1e-12);
    // A squared sum of log-ratios: 0.05 · (1² + 0²) / 2.
    let moved = (&fixed + Tensor::new(&[1f64, 0.], &CPU)?)?;
    let zero = advantages.zeros_like()?;
    let kl = sequence_loss(&moved, &zero, &weights, Some((&fixed, 0.05)))?;
    assert_close(&kl, &Tensor::new(0.025, &CPU)?, 1e-12);
    Ok(())
}

/// Two completions, of two tokens and of one, padded with 0.
fn padded_sequences() -> Result<(Tensor, LossInputs)> {
    let rows = |rows: [[f64; 2]; 2]| Tensor::new(&rows, &CPU);
    let inputs = LossInputs {
        behavior_log_probs: rows([[-0.4, -0.6], [-2., 0.]])?,
        old_log_probs: None,
        ref_log_probs: Some(rows([[-0.3, -0.5], [-1.5, 0.]])?),
        advantages: rows([[2., 2.], [-1., 0.]])?,
        weights: rows([[0.25, 0.25], [0.5, 0.]])?,
    };
    Ok((rows([[-0.4, -0.6], [-2., 0.]])?, inputs))
}

#[test]
fn the_loss_of_whole_completions_and_its_gradient_match_an_example_computed_by_hand() -> Result<()>
{
    let (log_probs, inputs) = padded_sequences()?;
    let log_probs = Var::from_tensor(&log_probs)?;
    let objective = Objective {
        level: LossLevel::Sequence,
        clip_range: None,
        kl: Some((KlLoss::K3Weighted, 0.1)),
        importance_sampling_cap: None,
    };
    let loss = objective.loss(log_probs.as_tensor(), &inputs)?;
    // Completion 1: log π = −1, log π_ref = −0.8, so −2 · −1 + 0.1 · (−0.2)² = 2.004, times 0.25.
    // Completion 2: log π = −2, log π_ref = −1.5, so  1 · −2 + 0.1 · (−0.5)² = −1.975, times 0.5.
    let expected = 0.25 * 2.004 + 0.5 * -1.975;
    assert_close(&loss, &Tensor::new(expected, &CPU)?, 1e-12);
    // Every token of a completion has w (−A + 2 β (log π − log π_ref)).
    let grads = backward(&loss)?;
    let gradient = grads.get(log_probs.as_tensor()).expect("a gradient");
    let first = 0.25 * (-2. + 0.2 * -0.2);
    let second = 0.5 * (1. + 0.2 * -0.5);
    let at_tokens = (gradient * inputs.advantages.ne(0.)?.to_dtype(DType::F64)?)?;
    assert_close(&at_tokens, &Tensor::new(&[[first, first], [second, 0.]], &CPU)?, 1e-12);
    // Without a KL term, no reference is needed, and an excluded completion has no part.
    let without = Objective { kl: None, ..objective };
    let weights = Tensor::new(&[[0.25, 0.25], [0f64, 0.]], &CPU)?;
    let excluded = LossInputs { ref_log_probs: None, weights, ..inputs };
    let loss = without.loss(log_probs.as_tensor(), &excluded)?;
    assert_close(&loss, &Tensor::new(0.5, &CPU)?, 1e-12);
    let error = objective.loss(log_probs.as_tensor(), &excluded).expect_err("refused");
    assert!(error.to_string().contains("needs ref_log_probs"), "{error}");
    Ok(())
}

#[test]
fn whole_completions_and_tokens_have_the_same_gradient_on_policy() -> Result<()> {
    let (log_probs, inputs) = padded_sequences()?;
    let log_probs = Var::from_tensor(&log_probs)?; // as the sampler recorded them
    let gradient = |level| -> Result<Tensor> {
        let objective =
            Objective { level, clip_range: None, kl: None, importance_sampling_cap: None };
        let loss = objective.loss(log_probs.as_tensor(), &inputs)?;
        Ok(backward(&loss)?.get(log_probs.as_tensor()).expect("a gradient").clone())
    };
    let mask = inputs.advantages.ne(0.)?.to_dtype(DType::F64)?;
    let whole = (gradient(LossLevel::Sequence)? * mask)?;
    assert_close(&gradient(LossLevel::Token)?, &whole, 1e-12);
    Ok(())
}

#[test]
fn the_overlong_penalty_rises_over_the_buffer() {
    let penalized = OverlongHandling::Penalized { buffer: 4 };
    let penalties: Vec<f32> = (5..=10).map(|length| penalized.penalty(length, 10)).collect();
    assert_eq!(penalties, [0., 0., 0.25, 0.5, 0.75, 1.]);
    assert_eq!(OverlongHandling::Masked.penalty(10, 10), 0.);
    assert_eq!(OverlongHandling::Penalized { buffer: 0 }.penalty(10, 10), 0.);
}

#[test]
fn a_completion_as_one_action_has_the_weight_of_one() {
    let weights = Aggregation::Completion.weights(&[2, 5, 3], &[true, false, true], 9);
    assert_eq!(weights, [0.5, 0., 0.5], "1/B, whatever its length");
}
