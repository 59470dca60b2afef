//! Model selection by the loss's own score.

use anyhow::{Context, Result};
use experiment::{RunLog, Score};
use tensor_core::testing::assert_close;

use super::{all_losses, pair, policy};
use crate::log_probs::log_probs_of_examples;
use crate::losses::{DpoLoss, LossType};
use crate::metrics::DpoMetrics;
use crate::preference_example::PreferenceDataset;
use crate::step::DpoPolicy;
use crate::validator::{DpoValidator, evaluate};

/// A pair whose chosen completion of ten tokens has gained 3 nats, and its rejected one of two
/// tokens 2: the sum prefers the first, the mean per token the second.
fn pair_with_two_orders(policy: &DpoPolicy) -> Result<PreferenceDataset> {
    let mut example = pair(&[1, 2], &[3, 4, 5, 6, 7, 8, 9, 10, 11, 0], &[5, 0]);
    let log_probs = log_probs_of_examples(&policy.models.inference, &[example.clone()], 1)?;
    example.ref_log_probs = log_probs[0].iter().zip([3f64, 2.]).map(|(p, gain)| p - gain).collect();
    Ok(PreferenceDataset { examples: vec![example], mismatched: Vec::new() })
}

fn orders_by_means(loss: &DpoLoss) -> bool {
    matches!(loss.loss_type, LossType::SigmoidNorm | LossType::Ipo)
}

fn metrics_of(loss: &DpoLoss) -> Result<DpoMetrics> {
    let policy = policy(5)?;
    evaluate(&policy.models.inference, &pair_with_two_orders(&policy)?, loss, 8)
}

#[test]
fn the_accuracy_is_that_of_the_losss_own_order_beside_trls_of_sums() -> Result<()> {
    for loss in all_losses().iter().filter(|loss| loss.loss_type.needs_reference()) {
        let metrics = metrics_of(loss)?;
        assert_close(metrics.reward_accuracy.context("a pair")?, 1., 0.);
        let own: f64 = if orders_by_means(loss) { 0. } else { 1. };
        assert_close(metrics.accuracy.context("a pair")?, own, 0.);
        let row = metrics.row("val_");
        assert_eq!(row["val_rewards/accuracies"], 1f64, "{loss:?}");
        assert_eq!(row["val_loss_accuracy"], own, "{loss:?}");
        assert_close(metrics.margin, loss.beta, 1e-4); // TRL's, of sums
    }
    Ok(())
}

#[test]
fn a_model_is_selected_and_a_target_reached_by_the_losss_own_order() -> Result<()> {
    for loss in all_losses().into_iter().filter(|loss| loss.loss_type.needs_reference()) {
        let mut policy = policy(5)?;
        let data = pair_with_two_orders(&policy)?;
        let validator = DpoValidator {
            data: &data,
            loss,
            batch_size: 8,
            interval: 0,
            target_accuracy: Some(0.5),
            model_saver: None,
        };
        validator.run(&mut policy, &mut RunLog::of_losses(1)?)?;
        let progress = &policy.state.progress;
        assert_eq!(progress.target_reached, !orders_by_means(&loss), "{loss:?}");
        let Some(Score::Accuracy { accuracy, .. }) = progress.selection.initial else {
            panic!("{loss:?}: {:?}", progress.selection)
        };
        assert_close(accuracy, if orders_by_means(&loss) { 0. } else { 1. }, 0.);
    }
    Ok(())
}

#[test]
fn a_loss_that_orders_nothing_selects_by_the_loss() -> Result<()> {
    let mut policy = policy(5)?;
    let data = pair_with_two_orders(&policy)?;
    let loss = DpoLoss { loss_type: LossType::Sft, beta: 0.1, sft_weight: 1. };
    let validator = DpoValidator {
        data: &data,
        loss,
        batch_size: 8,
        interval: 0,
        target_accuracy: None,
        model_saver: None,
    };
    validator.run(&mut policy, &mut RunLog::of_losses(1)?)?;
    let initial = policy.state.progress.selection.initial;
    assert!(matches!(initial, Some(Score::Loss(loss)) if loss > 0.), "{initial:?}");
    let metrics = metrics_of(&loss)?;
    assert!(metrics.accuracy.is_none() && metrics.reward_accuracy.is_some(), "{metrics:?}");
    assert!(metrics.row("").get("loss_accuracy").is_none());
    Ok(())
}
