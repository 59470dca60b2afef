//! Training steps: those of TRL, micro-batches, alarms, learning, resuming.

use std::num::NonZeroUsize;
use std::path::Path;

use anyhow::{Context, Result};
use candle_core::DType;
use experiment::{Checkpoints, Run, RunCheckpoints, RunLog, RunLogConfig, TrainState};
use model_io::model_folder;
use modern::{GptModern, GradientCheckpointing};
use ranks::Ranks;
use scaling::accumulation::GradAccumulator;
use serde_json::Value;
use tensor_core::testing::assert_close;
use tensor_core::{AdamWConfig, OptimizerConfig};

use super::{
    CPU, all_losses, config, golden, golden_path, pair, pairs, parameters, parameters_of, policy,
    policy_of, train_config,
};
use crate::log_probs::{completion_log_probs, log_probs_of_examples};
use crate::losses::DpoLoss;
use crate::metrics::{batch_log_probs, loss_totals};
use crate::preference_example::{PreferenceDataset, PreferenceExample, mismatched};
use crate::ref_cache::set_ref_log_probs;
use crate::step::{DpoBatch, DpoPolicy, TrainConfig, dpo_step, kl_baseline};
use crate::training::train;
use crate::validator::{DpoValidator, evaluate};

/// Pairs with log-probabilities under a reference that is not the policy.
fn pairs_with_reference() -> Result<Vec<PreferenceExample>> {
    with_reference(pairs())
}

fn with_reference(mut examples: Vec<PreferenceExample>) -> Result<Vec<PreferenceExample>> {
    let reference = GptModern::new(&config(), parameters(7)?.for_inference().root())?;
    set_ref_log_probs(&mut examples, &reference, 8, &Ranks::Alone)?;
    Ok(examples)
}

/// Rows of metrics of `policy` after steps on each of `batches`.
fn rows_of_steps(
    policy: &mut DpoPolicy,
    batches: &[DpoBatch],
    config: &TrainConfig,
) -> Result<Vec<Value>> {
    let folder = tempfile::tempdir()?;
    let log_config = RunLogConfig::losses(batches.len(), 0, 1);
    let mut log = RunLog::create(log_config, folder.path(), &Value::Null)?;
    for batch in batches {
        dpo_step(policy, batch, config, &mut log)?;
    }
    read_rows(folder.path())
}

fn read_rows(run: &Path) -> Result<Vec<Value>> {
    let text = std::fs::read_to_string(run.join("metrics.jsonl"))?;
    Ok(text.lines().map(serde_json::from_str).collect::<serde_json::Result<_>>()?)
}

fn batch_of(micro_batches: Vec<Vec<PreferenceExample>>) -> DpoBatch {
    DpoBatch { micro_batches, mismatched: Vec::new() }
}

#[test]
fn five_steps_agree_with_those_of_trls_trainer() -> Result<()> {
    let golden = golden("steps.json")?;
    let llama = golden_path("../part_3_modern/tests/golden/llama");
    let (model, parameters) =
        GptModern::from_weights(model_folder::open(&llama, DType::F32, &CPU)?)?;
    let ids = |row: &Value, key: &str, end: &[u32]| -> Result<Vec<u32>> {
        Ok([serde_json::from_value::<Vec<u32>>(row[key].clone())?, end.to_vec()].concat())
    };
    let examples = golden["rows"].as_array().context("rows")?.iter().map(|row| {
        let [prompt, chosen, rejected] =
            [("prompt", &[][..]), ("chosen", &[2]), ("rejected", &[2])]
                .map(|(k, e)| ids(row, k, e));
        Ok(pair(&prompt?, &chosen?, &rejected?))
    });
    let mut examples: Vec<PreferenceExample> = examples.collect::<Result<_>>()?;
    let reference = GptModern::new(model.config(), parameters.for_inference().root())?;
    set_ref_log_probs(&mut examples, &reference, 4, &Ranks::Alone)?;
    let optimizer = AdamWConfig { beta2: 0.999, weight_decay: 0., ..AdamWConfig::default() };
    let optimizer = OptimizerConfig::from(optimizer);
    let config = TrainConfig { optimizer, ..train_config(DpoLoss::sigmoid(0.5), 1e-2, 5) };
    let state = TrainState::new(parameters, optimizer)?;
    let mut policy = DpoPolicy::new(model.config(), state)?;
    let batches: Vec<DpoBatch> =
        examples.chunks(2).map(|pairs| batch_of(vec![pairs.to_vec()])).collect();
    let rows = rows_of_steps(&mut policy, &batches, &config)?;
    let steps = golden["steps"].as_array().context("steps")?;
    assert_eq!((rows.len(), steps.len()), (5, 5));
    for (ours, theirs) in rows.iter().zip(steps) {
        for (name, value) in theirs.as_object().context("metrics")? {
            if name == "rewards/accuracies" && ours["step"] == 1 {
                continue; // a tie counts half here and nothing in TRL
            }
            let ours = ours[name].as_f64().with_context(|| format!("no {name}"))?;
            assert_close(ours, value.as_f64().context("a number")?, 1e-5);
        }
    }
    Ok(())
}

#[test]
fn gradient_checkpointing_of_the_policy_changes_no_gradient() -> Result<()> {
    let loss = DpoLoss::sigmoid(0.5);
    let policy = || policy_of(parameters_of(DType::F64, 3)?);
    let stored = gradients(&policy()?, &pairs_with_reference()?, &loss, 2)?;
    let policy = policy()?.with_gradient_checkpointing(GradientCheckpointing::On);
    assert_eq!(policy.models.training.gradient_checkpointing(), GradientCheckpointing::On);
    assert_eq!(policy.models.inference.gradient_checkpointing(), GradientCheckpointing::Off);
    assert_eq!(gradients(&policy, &pairs_with_reference()?, &loss, 2)?, stored);
    Ok(())
}

/// Gradient of every weight of `policy` on `examples`, in micro-batches of `size`, one after the
/// other.
fn gradients(
    policy: &DpoPolicy,
    examples: &[PreferenceExample],
    loss: &DpoLoss,
    size: usize,
) -> Result<Vec<Vec<f64>>> {
    let totals = loss_totals(loss, examples, 0.3);
    let mut accumulator = GradAccumulator::default();
    for micro_batch in examples.chunks(size) {
        let groups = micro_batch.iter().map(|example| &example.group);
        let log_probs = completion_log_probs(&policy.models.training, groups)?;
        let loss = loss.compute(&batch_log_probs(&log_probs, micro_batch)?, &totals)?;
        accumulator.backward(&loss, &[&policy.state.parameters])?;
    }
    let (_, grads) = accumulator.finish()?;
    let parameters = policy.state.parameters.trainable();
    parameters
        .map(|p| {
            let grad = grads.get(p.var.as_tensor()).with_context(|| p.name.clone())?;
            Ok(grad.flatten_all()?.to_vec1()?)
        })
        .collect()
}

#[test]
fn micro_batches_of_any_size_and_their_padding_leave_every_losss_gradient_as_it_is() -> Result<()> {
    // In f64, so that rounding does not hide an error: gradients of these weights reach 20.
    let (policy, examples) = (policy_of(parameters_of(DType::F64, 5)?)?, pairs_with_reference()?);
    for loss in all_losses() {
        let whole = gradients(&policy, &examples, &loss, examples.len())?;
        assert!(whole.iter().flatten().any(|g| g.abs() > 1e-3), "{loss:?}");
        for size in [1, 2, 3] {
            for (part, whole) in gradients(&policy, &examples, &loss, size)?.iter().zip(&whole) {
                assert_close(part, whole, 1e-6);
            }
        }
    }
    Ok(())
}

#[test]
fn a_completions_log_prob_depends_neither_on_the_batch_nor_on_the_other_completion() -> Result<()> {
    let model = policy(5)?.models.inference;
    let together = log_probs_of_examples(&model, &pairs(), 8)?;
    for (example, together) in pairs().iter().zip(together) {
        let prompt = &example.group.prompt;
        for (completion, log_prob) in example.group.completions.iter().zip(together) {
            let other = &[11, 11, 11, 11, 11, 11, 11, 0];
            let alone = pair(prompt, &completion.tokens, other);
            let alone = log_probs_of_examples(&model, &[alone], 1)?;
            assert_close(alone[0][0], log_prob, 1e-6);
            assert!(log_prob < 0.);
        }
    }
    Ok(())
}

#[test]
fn a_policy_that_equals_its_reference_has_loss_ln_2_and_an_alarm_if_it_stays_so() -> Result<()> {
    let mut examples = pairs();
    let mut policy = policy(7)?;
    set_ref_log_probs(&mut examples, &policy.models.inference, 8, &Ranks::Alone)?;
    let data = PreferenceDataset { examples, mismatched: Vec::new() };
    for beta in [0.1, 2.] {
        let metrics = evaluate(&policy.models.inference, &data, &DpoLoss::sigmoid(beta), 8)?;
        assert_close(metrics.loss, std::f64::consts::LN_2, 1e-6);
        assert_close(metrics.accuracy.context("pairs")?, 0.5, 0.);
    }
    let loss = DpoLoss::sigmoid(0.1);
    let validator = DpoValidator {
        data: &data,
        loss,
        batch_size: 8,
        interval: 5,
        target_accuracy: None,
        model_saver: None,
    };
    let folder = tempfile::tempdir()?;
    let mut log = RunLog::create(RunLogConfig::losses(10, 0, 1), folder.path(), &Value::Null)?;
    let config = train_config(loss, 1e-12, 10);
    train(&mut policy, &data, &config, &validator, &Run::default(), &mut log)?;
    let rows = read_rows(folder.path())?;
    let alarms: Vec<&str> = rows.iter().filter_map(|row| row["alarm"].as_str()).collect();
    assert!(alarms.len() == 1 && alarms[0].contains("still equals its reference"), "{alarms:?}");
    Ok(())
}

#[test]
fn a_chosen_completion_that_becomes_less_likely_raises_an_alarm() -> Result<()> {
    // The two sides share all but the last token, so pushing one down pushes the other down.
    let mut examples = vec![pair(&[1, 2], &[3, 4, 5, 6, 7, 0], &[3, 4, 5, 6, 8, 9, 9, 9, 9, 9, 0])];
    let mut policy = policy(7)?;
    set_ref_log_probs(&mut examples, &policy.models.inference, 8, &Ranks::Alone)?;
    for example in &mut examples {
        example.ref_log_probs[0] += 6.; // as after many steps: 1 nat per token less likely
    }
    let config = train_config(DpoLoss::sigmoid(0.1), 1e-12, 2);
    let batches = vec![batch_of(vec![examples]); 2];
    let rows = rows_of_steps(&mut policy, &batches, &config)?;
    let alarms: Vec<&str> = rows.iter().filter_map(|row| row["alarm"].as_str()).collect();
    assert_eq!(alarms.len(), 1, "{alarms:?}");
    assert!(alarms[0].contains("fell by 1.00 nats per token"), "{alarms:?}");
    Ok(())
}

#[test]
fn ktos_baseline_is_the_mean_log_ratio_of_mismatched_completions_and_never_below_0() -> Result<()> {
    let model = policy(5)?.models.inference;
    let mut examples = mismatched(&pairs(), 24).context("other prompts")?;
    set_ref_log_probs(&mut examples, &model, 8, &Ranks::Alone)?;
    for (shift, kl) in [(-0.5, 0.5), (0.5, 0.)] {
        let mut examples = examples.clone();
        let ref_log_probs = examples.iter_mut().flat_map(|example| &mut example.ref_log_probs);
        ref_log_probs.for_each(|log_prob| *log_prob += shift);
        assert_close(kl_baseline(&model, &examples, 2, &Ranks::Alone)?, kl, 1e-5);
    }
    Ok(())
}

#[test]
fn twenty_steps_raise_the_accuracy_of_every_loss() -> Result<()> {
    for loss in all_losses() {
        let mut policy = policy(5)?;
        let mut examples = pairs();
        set_ref_log_probs(&mut examples, &policy.models.inference, 8, &Ranks::Alone)?;
        let mut mismatched = mismatched(&examples, 24).context("other prompts")?;
        set_ref_log_probs(&mut mismatched, &policy.models.inference, 8, &Ranks::Alone)?;
        let data = PreferenceDataset { examples, mismatched };
        let before = evaluate(&policy.models.inference, &data, &loss, 8)?;
        let batch = DpoBatch {
            micro_batches: vec![data.examples.clone()],
            mismatched: data.mismatched.clone(),
        };
        let config = train_config(loss, 3e-3, 20);
        rows_of_steps(&mut policy, &vec![batch; 20], &config)?;
        let after = evaluate(&policy.models.inference, &data, &loss, 8)?;
        let accuracy = after.reward_accuracy.context("pairs")?;
        assert!(accuracy == 1. && after.loss < before.loss, "{loss:?}: {before:?} {after:?}");
    }
    Ok(())
}

#[test]
fn a_resumed_run_takes_the_steps_of_an_uninterrupted_one() -> Result<()> {
    let data = PreferenceDataset {
        examples: pairs_with_reference()?,
        mismatched: with_reference(mismatched(&pairs(), 24).context("other prompts")?)?,
    };
    let loss = DpoLoss { loss_type: super::KTO, ..DpoLoss::sigmoid(0.5) };
    let config = train_config(loss, 1e-3, 6);
    let validator = DpoValidator {
        data: &data,
        loss,
        batch_size: 4,
        interval: 0,
        target_accuracy: None,
        model_saver: None,
    };
    let folder = tempfile::tempdir()?;
    let checkpoints = || Checkpoints::new(folder.path().into(), NonZeroUsize::MIN);
    let run_until = |policy: &mut DpoPolicy, last| {
        let checkpoints = Some(RunCheckpoints::new(checkpoints(), 0, "data"));
        let run = Run { checkpoints, stop_after: last, ..Run::default() };
        train(policy, &data, &config, &validator, &run, &mut RunLog::of_losses(6)?)
    };
    let weights = |policy: &DpoPolicy| -> Result<Vec<Vec<f32>>> {
        let parameters = policy.state.parameters.iter();
        Ok(parameters
            .map(|p| p.var.flatten_all()?.to_vec1())
            .collect::<candle_core::Result<_>>()?)
    };
    run_until(&mut policy(5)?, Some(3))?;
    let mut resumed = policy(9)?; // other weights, which the checkpoint replaces
    let (step, checkpoint) = checkpoints().latest()?.context("a checkpoint")?;
    assert_eq!(step, 3);
    resumed.state.restore(&checkpoint, "data")?;
    run_until(&mut resumed, None)?;
    let mut whole = policy(5)?;
    run_until(&mut whole, None)?;
    assert_eq!(weights(&whole)?, weights(&resumed)?);
    Ok(())
}

/// With ε = 1, a step is about as long as the gradient.
#[test]
fn a_step_does_not_depend_on_the_size_of_its_micro_batches() -> Result<()> {
    let optimizer = AdamWConfig { eps: 1., weight_decay: 0., ..AdamWConfig::default() };
    let optimizer = OptimizerConfig::from(optimizer);
    let examples = pairs_with_reference()?;
    let after = |loss: DpoLoss, size: usize| -> Result<Vec<Vec<f64>>> {
        let state = TrainState::new(parameters_of(DType::F64, 5)?, optimizer)?;
        let mut policy = DpoPolicy::new(&config(), state)?;
        let config =
            TrainConfig { optimizer, max_grad_norm: f64::MAX, ..train_config(loss, 0.1, 1) };
        let batch = batch_of(examples.chunks(size).map(<[_]>::to_vec).collect());
        rows_of_steps(&mut policy, &[batch], &config)?;
        let parameters = policy.state.parameters.iter();
        Ok(parameters
            .map(|p| p.var.flatten_all()?.to_vec1())
            .collect::<candle_core::Result<_>>()?)
    };
    for loss in all_losses() {
        let whole = after(loss, examples.len())?;
        for size in [1, 2, 3] {
            for (part, whole) in after(loss, size)?.iter().zip(&whole) {
                assert_close(part, whole, 1e-5);
            }
        }
    }
    Ok(())
}
