//! 9.3, 9.4: every aggregation with every KL term, against TRL's formulas.

use anyhow::Result;
use candle_core::{DType, Tensor, Var};
use clap::ValueEnum;
use serde_json::Value;
use tensor_core::backward;
use tensor_core::testing::assert_close;

use super::{CPU, golden, tensor};
use crate::reinforce::reinforce_with_squared_kl;
use crate::{Aggregation, Kl, LossInputs, Objective, Overlong};
use ppo::{Clip, clipped_surrogate};

fn parse_value_enum<T: ValueEnum>(name: &Value) -> Option<T> {
    name.as_str().map(|name| T::from_str(name, false).expect("a name"))
}

/// Of each completion, as often as it has tokens.
fn repeat_per_token(values: &[f64], lengths: &[usize]) -> Result<Tensor> {
    let each = values.iter().zip(lengths).flat_map(|(value, n)| vec![*value; *n]);
    Ok(Tensor::new(each.collect::<Vec<_>>(), &CPU)?)
}

#[test]
fn losses_and_gradients_are_those_of_trl_s_formulas() -> Result<()> {
    let golden = golden();
    let lengths: Vec<usize> = serde_json::from_value(golden["lengths"].clone())?;
    let of_groups: Vec<f64> = serde_json::from_value(golden["advantages"]["group-std"].clone())?;
    let budget = golden["budget"].as_u64().expect("a budget") as usize;
    let [low, high] = [0, 1].map(|i| golden["clip"][i].as_f64().expect("a bound"));
    let cases = golden["cases"].as_array().expect("cases");
    assert_eq!(cases.len(), 3 * 4 * 2 * 2);
    for case in cases {
        let aggregation: Aggregation = parse_value_enum(&case["aggregation"]).expect("one");
        let truncated: Vec<usize> = serde_json::from_value(case["truncated"].clone())?;
        let takes_part: Vec<bool> = (0..lengths.len()).map(|i| !truncated.contains(&i)).collect();
        // Its mean over sequences counts those that take no part; ours does not.
        let theirs = match aggregation {
            Aggregation::Sequence => 1. - truncated.len() as f64 / lengths.len() as f64,
            _ => 1.,
        };
        let weights = aggregation.weights(&lengths, &takes_part, budget);
        let weights: Vec<f64> = weights.into_iter().map(|w| theirs * f64::from(w)).collect();
        let drawn = LossInputs {
            behavior_log_probs: tensor(&golden["behaviour"])?,
            old_log_probs: Some(tensor(&golden["old"])?),
            ref_log_probs: Some(tensor(&golden["reference"])?),
            advantages: repeat_per_token(&of_groups, &lengths)?,
            weights: repeat_per_token(&weights, &lengths)?,
        };
        let objective = Objective {
            clip_range: Clip { low, high },
            kl: parse_value_enum::<Kl>(&case["kl"])
                .map(|kl| (kl, golden["beta"].as_f64().expect("β"))),
            importance_sampling_cap: case["cap"].as_f64(),
        };
        let log_probs = Var::from_tensor(&tensor(&golden["new"])?)?;
        let loss = objective.loss(log_probs.as_tensor(), &drawn)?;
        // The weights are f32, so six digits are what there is.
        assert_close(&loss, &Tensor::new(case["loss"].as_f64().expect("a loss"), &CPU)?, 1e-6)?;
        let grads = backward(&loss)?;
        let gradient = grads.get(log_probs.as_tensor()).expect("a gradient");
        assert_close(gradient, &tensor(&case["gradient"])?, 1e-6)?;
    }
    Ok(())
}

#[test]
fn weights_of_each_way_sum_to_what_they_should() {
    let (lengths, all) = ([3, 1, 0, 6], [true; 4]);
    let sum = |way: Aggregation, part: &[bool]| -> f32 {
        let weights = way.weights(&lengths, part, 10);
        weights.iter().zip(lengths).map(|(weight, n)| weight * n as f32).sum()
    };
    assert!((sum(Aggregation::Sequence, &all) - 0.75).abs() < 1e-6, "one of four has no token");
    assert!((sum(Aggregation::Token, &all) - 1.).abs() < 1e-6);
    assert!((sum(Aggregation::Constant, &all) - 10. / 40.).abs() < 1e-6);
    // Left out above and below: what remains is weighed as if it were all, but for the constant.
    let part = [true, false, false, true];
    assert!((sum(Aggregation::Sequence, &part) - 1.).abs() < 1e-6);
    assert!((sum(Aggregation::Token, &part) - 1.).abs() < 1e-6);
    assert!((sum(Aggregation::Constant, &part) - 9. / 40.).abs() < 1e-6, "a constant stays one");
    for way in Aggregation::value_variants() {
        assert_eq!(way.weights(&lengths, &[false; 4], 10), [0.; 4], "nothing, not NaN");
    }
}

#[test]
fn a_loss_of_three_terms_is_the_original_s() -> Result<()> {
    // The original's own example: a ratio of 1.2 cut at 1.1, advantage 1, a KL of 0.5 weighed by 0.1.
    let log_probs = Tensor::new(&[1.2f64.ln()], &CPU)?;
    let zero = Tensor::zeros(1, DType::F64, &CPU)?;
    let one = zero.ones_like()?;
    let policy = clipped_surrogate(&log_probs, &zero, &one, Clip { low: 0.1, high: 0.1 })?;
    assert_close(&policy, &Tensor::new(&[-1.1], &CPU)?, 1e-12)?;
    // k2 of d = 1 is the 0.5 that the original takes for granted.
    let drawn = LossInputs {
        behavior_log_probs: zero.clone(),
        old_log_probs: None,
        ref_log_probs: Some((&log_probs + 1.)?),
        advantages: one.clone(),
        weights: one,
    };
    let clip = Clip { low: 0.1, high: 0.1 };
    let objective =
        Objective { clip_range: clip, kl: Some((Kl::K2, 0.1)), importance_sampling_cap: None };
    assert_close(&objective.loss(&log_probs, &drawn)?, &Tensor::new(-1.05, &CPU)?, 1e-12)
        .map_err(Into::into)
}

#[test]
fn k3_of_a_distance_is_the_book_s_number() -> Result<()> {
    let d = Tensor::new(&[0.1f64, -0.5], &CPU)?;
    let k3 = Kl::K3.per_token(&d.zeros_like()?, &d, &d)?;
    Ok(assert_close(&k3, &Tensor::new(&[0.005_171, 0.106_531], &CPU)?, 1e-6)?)
}

#[test]
fn log_ratios_beyond_reason_stay_finite() -> Result<()> {
    let zero = Tensor::zeros(2, DType::F32, &CPU)?;
    let far = Tensor::new(&[-1e4f32, 1e4], &CPU)?;
    for kl in Kl::value_variants() {
        let found = kl.per_token(&zero, &far, &(&far * -1.)?)?.to_vec1::<f32>()?;
        assert!(found.iter().all(|x| x.is_finite()), "{kl:?} {found:?}");
    }
    Ok(())
}

#[test]
fn what_a_term_needs_is_demanded() -> Result<()> {
    let zero = Tensor::zeros(2, DType::F32, &CPU)?;
    let [behaviour, advantages, weights] = [(); 3].map(|()| zero.clone());
    let drawn = LossInputs {
        behavior_log_probs: behaviour,
        old_log_probs: None,
        ref_log_probs: None,
        advantages,
        weights,
    };
    let clip = Clip { low: 0.2, high: 0.2 };
    let refused = |kl, importance_cap| {
        let objective = Objective { clip_range: clip, kl, importance_sampling_cap: importance_cap };
        objective.loss(&zero, &drawn).expect_err("refused").to_string()
    };
    assert!(refused(Some((Kl::K3, 0.1)), None).contains("needs a reference"));
    assert!(refused(None, Some(2.)).contains("needs the old policy"));
    Ok(())
}

#[test]
fn the_first_rung_points_where_the_others_point() -> Result<()> {
    // Two completions of one token each, policy and reference alike: the surrogate has the same gradient.
    let log_probs = Var::from_tensor(&Tensor::new(&[-0.5f64, -1.5], &CPU)?)?;
    let (x, fixed) = (log_probs.as_tensor(), log_probs.as_detached_tensor());
    let advantages = Tensor::new(&[1f64, -1.], &CPU)?;
    let simple = reinforce_with_squared_kl(x, &fixed, &advantages, 0.05)?;
    let clipped = clipped_surrogate(x, &fixed, &advantages, Clip { low: 0.2, high: 0.2 })?;
    let of = |loss: &Tensor| -> Result<Tensor> {
        Ok(backward(loss)?.get(x).expect("a gradient").clone())
    };
    assert_close(&of(&simple)?, &of(&clipped.mean_all()?)?, 1e-12)?;
    // A squared sum of log-ratios: 0.05 · (1² + 0²) / 2.
    let moved = (&fixed + Tensor::new(&[1f64, 0.], &CPU)?)?;
    let zero = advantages.zeros_like()?;
    let kl = reinforce_with_squared_kl(&moved, &fixed, &zero, 0.05)?;
    Ok(assert_close(&kl, &Tensor::new(0.025, &CPU)?, 1e-12)?)
}

#[test]
fn the_last_tokens_of_the_budget_cost_more_and_more() {
    let penalised = Overlong::Penalized { buffer: 4 };
    let paid: Vec<f32> = (5..=10).map(|length| penalised.penalty(length, 10)).collect();
    assert_eq!(paid, [0., 0., 0.25, 0.5, 0.75, 1.]);
    assert_eq!(Overlong::Masked.penalty(10, 10), 0.);
    assert_eq!(Overlong::Penalized { buffer: 0 }.penalty(10, 10), 0.);
}
