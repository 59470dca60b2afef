//! Training loop: resuming, gradient accumulation, convergence of both architectures.

use std::num::NonZeroUsize;

use anyhow::Result;
use datasets::Preference;
use experiment::{Checkpoints, Run, RunCheckpoints, RunLog, TrainState};
use model_io::{LoraConfig, ModelConfig};
use scaling::LrSchedule;
use scaling::accumulation::GradAccumulator;
use scaling::schedule::DecayShape;
use tensor_core::AdamWConfig;
use tensor_core::testing::assert_close;

use super::{BOTH, CPU, chat_tokenizer, checkpoint, model, model_saver};
use crate::{
    LossKind, PairBatch, PreferenceLoss, RewardArchitecture, RewardCheckpoint, RewardModel,
    RewardValidator, TokenizedPair, TrainConfig, evaluate, initialization, tokenize_pairs, train,
};

const LOSS: PreferenceLoss =
    PreferenceLoss { kind: LossKind::BradleyTerry, center_rewards_coefficient: 0.01 };

pub(super) fn train_config(steps: usize) -> TrainConfig {
    TrainConfig {
        batch_size: 4,
        grad_accum_steps: 2,
        loss: LOSS,
        schedule: LrSchedule {
            peak_lr: 5e-3,
            min_lr: 5e-3,
            warmup_steps: 2,
            total_steps: steps,
            decay: DecayShape::Constant,
        },
        optimizer: AdamWConfig::default().into(),
        max_grad_norm: 1.,
        seed: 1,
    }
}

/// Pairs in which the chosen completion ends with 7 and the rejected one with 1.
pub(super) fn pairs() -> Result<Vec<TokenizedPair>> {
    let words = ["the", "answer", "of", "all", "What", "is"];
    let two_words = words.iter().flat_map(|a| words.iter().map(move |b| (a, b)));
    let preference =
        |(a, b)| Preference::new(format!("{a} {b}?"), format!("{b} 7"), format!("{b} 1"));
    let preferences: Vec<Preference> = two_words.map(preference).collect();
    Ok(tokenize_pairs(&preferences, &chat_tokenizer()?, 64)?.pairs)
}

pub(super) fn validator(pairs: &[TokenizedPair]) -> RewardValidator<'_> {
    let (interval, target_accuracy) = (10, Some(1.));
    RewardValidator { pairs, batch_size: 8, interval, target_accuracy, model_saver: None }
}

/// Trains the model of `state` in the run `run`.
pub(super) fn train_in(
    state: &mut TrainState,
    architecture: RewardArchitecture,
    pairs: &[TokenizedPair],
    config: &TrainConfig,
    validator: &RewardValidator<'_>,
    run: &Run,
) -> Result<()> {
    let model = RewardModel::new(&backbone()?, architecture, &mut state.parameters)?;
    train(&model, state, pairs, config, validator, run, &mut RunLog::of_losses(100)?)
}

/// Architecture below the reward head of all models here.
pub(super) fn backbone() -> Result<ModelConfig> {
    Ok(RewardModel::backbone_config(checkpoint(3)?.model.config()))
}

pub(super) fn train_state(architecture: RewardArchitecture, lora: bool) -> Result<TrainState> {
    let initial = RewardCheckpoint::from_language_model(checkpoint(3)?, architecture, None, 7)?;
    let config = *initial.model.backbone().config();
    let lora = lora.then_some(LoraConfig { dropout: 0.1, ..LoraConfig::new(2) });
    let parameters = match lora {
        Some(lora) => {
            initialization::attach_lora(&initial.parameters, &config, architecture, &lora, 1)?
        }
        None => initial.parameters,
    };
    TrainState::new(parameters, AdamWConfig::default())
}

pub(super) fn weights(train_state: &TrainState) -> Result<Vec<Vec<f32>>> {
    train_state.parameters.iter().map(|p| Ok(p.var.flatten_all()?.to_vec1()?)).collect()
}

#[test]
fn resuming_gives_the_same_weights_bit_for_bit() -> Result<()> {
    let pairs = pairs()?;
    let (train_pairs, validation_pairs) = pairs.split_at(19);
    let validator =
        RewardValidator { interval: 0, target_accuracy: None, ..validator(validation_pairs) };
    let config = train_config(7);
    for lora in [false, true] {
        let mut uninterrupted = train_state(RewardArchitecture::CausalLastToken, lora)?;
        let (kind, run) = (RewardArchitecture::CausalLastToken, Run::default());
        train_in(&mut uninterrupted, kind, train_pairs, &config, &validator, &run)?;

        let folder = tempfile::tempdir()?;
        let checkpoints = Checkpoints::new(folder.path().join("checkpoints"), NonZeroUsize::MIN);
        let saver = model_saver(folder.path(), backbone()?)?;
        for stop_after in [2, 3, 6, 7] {
            let mut resumed = train_state(RewardArchitecture::CausalLastToken, lora)?;
            if let Some((_, path)) = checkpoints.latest()? {
                assert!(resumed.restore(&path, "other data").is_err());
                resumed.restore(&path, "these")?;
            }
            let run = Run {
                checkpoints: Some(RunCheckpoints::at_end(folder.path(), "these")),
                stop_after: Some(stop_after),
                ..Run::default()
            };
            let validator = RewardValidator { model_saver: Some(&saver), ..validator };
            train_in(&mut resumed, kind, train_pairs, &config, &validator, &run)?;
            if stop_after == 7 {
                assert_eq!(weights(&resumed)?, weights(&uninterrupted)?, "lora {lora}");
            }
        }
        for file in ["model/model.safetensors", "model/tokenizer.json", "rewards.png"] {
            assert!(folder.path().join(file).exists(), "{file}");
        }
    }
    Ok(())
}

#[test]
fn accumulated_micro_batches_give_the_gradient_of_the_whole_batch() -> Result<()> {
    let pairs = pairs()?;
    for architecture in BOTH {
        let (model, parameters) = model(architecture, 3)?;
        let loss_and_grads = |batches: &[PairBatch]| {
            let n_pairs: usize = batches.iter().map(PairBatch::n_pairs).sum();
            let mut accumulator = GradAccumulator::default();
            for batch in batches {
                let [chosen, rejected] = batch.rewards(&model)?;
                let share = batch.n_pairs() as f64 / n_pairs as f64;
                let loss = (LOSS.compute(&chosen, &rejected)? * share)?;
                accumulator.backward(&loss, &[&parameters])?;
            }
            accumulator.finish()
        };
        let pairs: Vec<&TokenizedPair> = pairs.iter().take(5).collect();
        let (loss, grads) = loss_and_grads(&[PairBatch::from_pairs(&pairs, &CPU)?])?;
        let micro_batches =
            [PairBatch::from_pairs(&pairs[..1], &CPU)?, PairBatch::from_pairs(&pairs[1..], &CPU)?];
        let (micro_loss, micro_grads) = loss_and_grads(&micro_batches)?;
        assert_close(loss, micro_loss, 1e-4);
        for parameter in parameters.iter() {
            let [a, b] = [&grads, &micro_grads]
                .map(|grads| grads.get(parameter.var.as_tensor()).expect("a gradient"));
            assert_close(a, b, 1e-3);
        }
    }
    Ok(())
}

#[test]
fn both_architectures_learn_the_preference_and_stop_at_the_target() -> Result<()> {
    let pairs = pairs()?;
    let (train_pairs, validation_pairs) = pairs.split_at(24);
    let validator = validator(validation_pairs);
    let kinds = [LossKind::BradleyTerry, LossKind::Margin(1.)];
    for (architecture, kind) in BOTH.into_iter().zip(kinds) {
        let mut train_state = train_state(architecture, false)?;
        let loss = PreferenceLoss { kind, center_rewards_coefficient: 0.01 };
        let config = TrainConfig { loss, ..train_config(300) };
        let run = Run::default();
        train_in(&mut train_state, architecture, train_pairs, &config, &validator, &run)?;
        let progress = &train_state.progress;
        assert!(progress.target_reached && progress.step < 300, "{progress:?}");
        let mut parameters = train_state.parameters.for_inference();
        let model = RewardModel::new(&backbone()?, architecture, &mut parameters)?;
        assert_eq!(evaluate(&model, validation_pairs, 8)?.0.accuracy, 1.);
    }
    Ok(())
}

#[test]
fn training_or_evaluating_without_pairs_is_an_error() -> Result<()> {
    let pairs = pairs()?;
    let validator = validator(&pairs);
    let mut train_state = train_state(RewardArchitecture::CausalLastToken, false)?;
    let (kind, run) = (RewardArchitecture::CausalLastToken, Run::default());
    let result = train_in(&mut train_state, kind, &[], &train_config(3), &validator, &run);
    assert!(result.expect_err("an error").to_string().contains("no pair to train on"));
    let (model, _) = model(RewardArchitecture::CausalLastToken, 1)?;
    assert!(evaluate(&model, &[], 8).is_err());
    Ok(())
}
