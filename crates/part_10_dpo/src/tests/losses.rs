//! Losses and their gradients: TRL's, at the start of training, and at extremes.

use anyhow::{Context, Result};
use candle_core::{DType, Tensor, Var};
use serde_json::Value;
use tensor_core::backward;
use tensor_core::testing::assert_close;

use super::{CPU, all_losses, golden, numbers};
use crate::batch_log_probs::BatchLogProbs;
use crate::flags::{LossFlags, LossName};
use crate::losses::{DpoLoss, LossTotals, LossType};
use crate::preference_example::{Label, PreferenceType};

/// Loss of a step whose only micro-batch has these numbers, and its gradient with respect to the
/// log-probabilities under the policy.
fn loss_and_gradient(
    loss: &DpoLoss,
    [policy, reference]: [&[f64]; 2],
    n_tokens: &[usize],
    labels: &[Label],
    kl: f64,
) -> Result<(f64, Vec<f64>)> {
    let policy = Var::from_tensor(&Tensor::new(policy, &CPU)?)?;
    let batch = BatchLogProbs::new(policy.as_tensor(), reference, n_tokens, labels.to_vec())?;
    let is_chosen = |i: &usize| labels[*i] == Label::Chosen;
    let completions_per_loss = match loss.loss_type.preference_type() {
        PreferenceType::Paired => 2,
        PreferenceType::Unpaired => 1,
    };
    let totals = LossTotals {
        n_losses: labels.len() / completions_per_loss,
        n_chosen_tokens: (0..labels.len()).filter(is_chosen).map(|i| n_tokens[i]).sum(),
        kl,
    };
    let loss = loss.compute(&batch, &totals)?;
    let gradients = backward(&loss)?;
    let gradient = gradients.get(policy.as_tensor()).context("a gradient")?.to_vec1()?;
    Ok((f64::from(loss.to_scalar::<f32>()?), gradient))
}

/// Loss of a case of the golden file.
fn golden_loss(case: &Value) -> Result<DpoLoss> {
    let number = |key: &str| case[key].as_f64().unwrap_or_default();
    let label_smoothing = number("label_smoothing");
    let loss_type = match case["loss_type"].as_str().context("a name")? {
        "sigmoid" => LossType::Sigmoid { label_smoothing },
        "robust" => LossType::Robust { label_smoothing },
        "sigmoid-norm" => LossType::SigmoidNorm,
        "ipo" => LossType::Ipo,
        "hinge" => LossType::Hinge,
        "orpo" => LossType::Orpo,
        "simpo" => LossType::Simpo { gamma: number("gamma") },
        _ => LossType::Kto {
            desirable_weight: number("desirable_weight"),
            undesirable_weight: number("undesirable_weight"),
        },
    };
    Ok(DpoLoss { loss_type, beta: number("beta"), sft_weight: number("sft_weight") })
}

#[test]
fn losses_and_gradients_are_those_of_trls_trainers() -> Result<()> {
    let golden = golden("losses.json")?;
    let (policy, reference) = (numbers(&golden["policy"])?, numbers(&golden["reference"])?);
    let n_tokens: Vec<usize> = serde_json::from_value(golden["lengths"].clone())?;
    let kto_labels: Vec<bool> = serde_json::from_value(golden["kto_labels"].clone())?;
    let cases = golden["cases"].as_array().context("cases")?;
    assert_eq!(cases.len(), 12);
    for case in cases {
        let loss = golden_loss(case)?;
        let labels: Vec<Label> = (0..n_tokens.len())
            .map(|i| match loss.loss_type.preference_type() {
                PreferenceType::Paired => i < 4,
                PreferenceType::Unpaired => kto_labels[i],
            })
            .map(|is_chosen| if is_chosen { Label::Chosen } else { Label::Rejected })
            .collect();
        let kl = case["kl"].as_f64().unwrap_or_default();
        let (value, gradient) =
            loss_and_gradient(&loss, [&policy, &reference], &n_tokens, &labels, kl)?;
        assert_close(value, case["loss"].as_f64().context("a loss")?, 1e-6);
        assert_close(gradient, numbers(&case["gradient"])?, 1e-6);
    }
    Ok(())
}

#[test]
fn a_default_that_is_not_trls_is_named_at_the_start() -> Result<()> {
    let note = |loss: LossName, beta: Option<f64>, simpo_gamma: Option<f64>| {
        let flags = LossFlags {
            loss,
            beta,
            label_smoothing: None,
            simpo_gamma,
            sft_weight: None,
            desirable_weight: None,
            undesirable_weight: None,
        };
        anyhow::Ok((flags.config()?, flags.note_on_defaults()))
    };
    let (loss, both) = note(LossName::Simpo, None, None)?;
    assert_eq!((loss.beta, loss.loss_type), (2., LossType::Simpo { gamma: 1. }));
    assert!(both.context("a note")?.contains("--beta 0.1 --simpo-gamma 0.5"));
    let (_, gamma) = note(LossName::Simpo, Some(0.1), None)?;
    assert!(gamma.context("a note")?.contains("γ is 1"));
    assert!(note(LossName::SigmoidNorm, None, None)?.1.is_some());
    for given in [
        note(LossName::Simpo, Some(0.1), Some(0.5))?,
        note(LossName::SigmoidNorm, Some(0.1), None)?,
        note(LossName::Sigmoid, None, None)?, // 0.1, as in TRL
        note(LossName::Ipo, None, None)?,
    ] {
        assert_eq!(given.1, None, "{:?}", given.0);
    }
    Ok(())
}

#[test]
fn at_the_start_dpos_loss_is_ln_2_and_a_pairs_gradient_half_of_beta() -> Result<()> {
    let (log_probs, labels) =
        ([-3.5, -8.25, -40., -1.5], [Label::Chosen, Label::Rejected].repeat(2));
    for beta in [0.01, 0.1, 1., 10.] {
        let at_start = [&log_probs[..], &log_probs[..]]; // the policy is the reference
        let (loss, gradient) =
            loss_and_gradient(&DpoLoss::sigmoid(beta), at_start, &[2, 3, 9, 1], &labels, 0.)?;
        assert_close(loss, std::f64::consts::LN_2, 1e-7);
        let per_pair: Vec<f64> = gradient.iter().map(|g| 2. * g).collect(); // a mean over two pairs
        let half = beta / 2.;
        assert_close(per_pair, [-half, half, -half, half], 1e-7);
    }
    Ok(())
}

#[test]
fn every_loss_is_finite_at_extreme_log_probabilities() -> Result<()> {
    let labels = [Label::Chosen, Label::Rejected].repeat(2);
    for loss in all_losses() {
        for policy in [[-1e4, 0., 0., -1e4], [0., -1e4, -1e4, 0.], [0.; 4]] {
            let (value, gradient) =
                loss_and_gradient(&loss, [&policy, &[-5.; 4]], &[1, 2, 3, 4], &labels, 1.)?;
            assert!(value.is_finite(), "{loss:?}: {value}");
            assert!(gradient.iter().all(|g| g.is_finite()), "{loss:?}: {gradient:?}");
        }
    }
    Ok(())
}

#[test]
fn a_loss_of_pairs_refuses_completions_that_are_no_pairs() -> Result<()> {
    let labels = vec![Label::Chosen, Label::Rejected, Label::Chosen];
    let policy = Tensor::zeros(3, DType::F64, &CPU)?;
    let batch = BatchLogProbs::new(&policy, &[0.; 3], &[1; 3], labels)?;
    let totals = LossTotals { n_losses: 1, n_chosen_tokens: 1, kl: 0. };
    let error = DpoLoss::sigmoid(0.1).compute(&batch, &totals).expect_err("no pairs");
    assert!(error.to_string().contains("2 chosen and 1 rejected"), "{error}");
    Ok(())
}

/// Each token of both completions is 0.1 nats more likely than under the reference; one completion
/// is twice as long.
#[test]
fn a_summed_loss_prefers_the_longer_completion_and_a_mean_one_does_not() -> Result<()> {
    let (labels, n_tokens) = ([Label::Chosen, Label::Rejected], [20, 10]);
    let sigmoid = LossType::Sigmoid { label_smoothing: 0. };
    for (loss_type, expected) in [
        (sigmoid, (1. + (-1f64).exp()).ln()),
        (LossType::Hinge, 0.),
        (LossType::SigmoidNorm, 2f64.ln()),
        (LossType::Ipo, 0.25),
    ] {
        let loss = DpoLoss { loss_type, beta: 1., sft_weight: 0. };
        let log_probs = [&[-18., -9.][..], &[-20., -10.]];
        let (value, gradient) = loss_and_gradient(&loss, log_probs, &n_tokens, &labels, 0.)?;
        assert_close(value, expected, 1e-6);
        if expected != 0. {
            let per_token = matches!(loss_type, LossType::SigmoidNorm | LossType::Ipo);
            let ratio = if per_token { -0.5 } else { -1. }; // of the longer one's to the shorter's
            assert_close(gradient[0] / gradient[1], ratio, 1e-9);
        }
    }
    Ok(())
}
