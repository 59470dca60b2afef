//! The loop: interrupted runs arrive where uninterrupted ones do, in parts as in one, and either form learns manners.

use std::num::NonZeroUsize;

use anyhow::Result;
use scaling::accumulation::gradients_of_mean_loss;
use scaling::schedule::DecayShape;
use scaling::{Checkpoints, LrSchedule};
use sft::{LoraConfig, ModelSaver, RunDestination, RunOutputs, SftLog, TargetModules, TrainState};
use tensor_core::AdamWConfig;
use tensor_core::testing::assert_close;
use tiny_gpt::Interrupt;

use super::{BOTH, CPU, checkpoint, model, speech};
use crate::{
    LossKind, PairBatch, Preference, PreferenceLoss, RewardArchitecture, RewardCheckpoint,
    RewardModel, RewardValidator, TokenizedPair, TrainConfig, evaluate, initialization,
    tokenize_pairs, train,
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
        optimizer: AdamWConfig::default(),
        max_grad_norm: 1.,
        seed: 1,
    }
}

/// The answer that ends with 7 is the better one.
pub(super) fn pairs() -> Result<Vec<TokenizedPair>> {
    let words = ["the", "answer", "of", "all", "What", "is"];
    let each = words.iter().flat_map(|a| words.iter().map(move |b| (a, b)));
    let each =
        each.map(|(a, b)| Preference::new(format!("{a} {b}?"), format!("{b} 7"), format!("{b} 1")));
    Ok(tokenize_pairs(&each.collect::<Vec<_>>(), &speech()?, 64)?.pairs)
}

pub(super) fn exam(pairs: &[TokenizedPair]) -> RewardValidator<'_> {
    RewardValidator { pairs, batch_size: 8, interval: 10, target_accuracy: Some(1.) }
}

pub(super) fn log() -> Result<SftLog> {
    SftLog::new(100, 2, 0, 10)
}

pub(super) fn tuning(architecture: RewardArchitecture, lora: bool) -> Result<TrainState> {
    let begun = RewardCheckpoint::from_language_model(checkpoint(3)?, architecture, None, 7)?;
    let config = *begun.model.backbone().config();
    let lora = lora.then_some(LoraConfig {
        rank: 2,
        alpha: 4.,
        dropout: 0.1,
        target_modules: TargetModules::All,
    });
    let parameters = match lora {
        Some(lora) => {
            initialization::attach_lora(&begun.parameters, (&config, architecture), &lora, 1)?
        }
        None => begun.parameters,
    };
    TrainState::new(config, parameters, AdamWConfig::default())
}

pub(super) fn bits(tuning: &TrainState) -> Result<Vec<Vec<f32>>> {
    tuning.parameters.iter().map(|p| Ok(p.var.flatten_all()?.to_vec1()?)).collect()
}

#[test]
fn a_run_in_pieces_arrives_where_a_run_in_one_does_bit_for_bit() -> Result<()> {
    let pairs = pairs()?;
    let (learned, kept) = pairs.split_at(19);
    let exam = RewardValidator { interval: 0, target_accuracy: None, ..exam(kept) };
    let (speech, ends) = (speech()?, modern::model_folder::SpecialTokenIds::default());
    for lora in [false, true] {
        let mut whole = tuning(RewardArchitecture::Causal, lora)?;
        let learner = (&mut whole, RewardArchitecture::Causal);
        train(learner, learned, &train_config(7), &exam, &RunOutputs::default(), &mut log()?)?;

        let folder = tempfile::tempdir()?;
        let checkpoints = Checkpoints::new(folder.path().join("checkpoints"), NonZeroUsize::MIN);
        let keeper =
            ModelSaver { chat_tokenizer: &speech, special_ids: &ends, sampler: None, lora: None };
        for stop_after in [2, 3, 6, 7] {
            let mut piece = tuning(RewardArchitecture::Causal, lora)?;
            if let Some((_, path)) = checkpoints.latest()? {
                assert!(piece.restore(&path, "other data").is_err());
                piece.restore(&path, "these")?;
            }
            let place = RunDestination::new(folder.path(), &keeper, "these");
            let (interrupt, stop_after) = (Interrupt::default(), Some(stop_after));
            let outputs = RunOutputs { destination: Some(place), interrupt, stop_after };
            let learner = (&mut piece, RewardArchitecture::Causal);
            train(learner, learned, &train_config(7), &exam, &outputs, &mut log()?)?;
            if stop_after == Some(7) {
                assert_eq!(bits(&piece)?, bits(&whole)?, "lora {lora}");
            }
        }
        for file in ["model/model.safetensors", "model/tokenizer.json", "rewards.png"] {
            assert!(folder.path().join(file).exists(), "{file}");
        }
    }
    Ok(())
}

#[test]
fn pairs_one_by_one_give_the_gradient_of_the_batch() -> Result<()> {
    let pairs = pairs()?;
    for architecture in BOTH {
        let (model, parameters) = model(architecture, 3)?;
        let of = |batches: &[PairBatch]| {
            let counts: Vec<usize> = batches.iter().map(PairBatch::n_pairs).collect();
            gradients_of_mean_loss(&parameters, batches, &counts, 1., |batch| {
                let [chosen, rejected] = batch.rewards(&model)?;
                Ok(LOSS.compute(&chosen, &rejected)?)
            })
        };
        let pairs: Vec<&TokenizedPair> = pairs.iter().take(5).collect();
        let (loss, whole) = of(&[PairBatch::from_pairs(&pairs, &CPU)?])?;
        let ragged =
            [PairBatch::from_pairs(&pairs[..1], &CPU)?, PairBatch::from_pairs(&pairs[1..], &CPU)?];
        let (again, parts) = of(&ragged)?;
        assert!((loss - again).abs() < 1e-4 * (1. + loss.abs()), "{loss} {again}");
        for parameter in parameters.iter() {
            let [a, b] =
                [&whole, &parts].map(|grads| grads.get(parameter.var.as_tensor()).expect("one"));
            assert_close(a, b, 1e-3)?;
        }
    }
    Ok(())
}

#[test]
fn either_form_learns_what_is_preferred_and_the_run_ends_when_it_does() -> Result<()> {
    let pairs = pairs()?;
    let (learned, kept) = pairs.split_at(24);
    let kinds = [LossKind::BradleyTerry, LossKind::Margin(1.)];
    for (architecture, kind) in BOTH.into_iter().zip(kinds) {
        let mut tuning = tuning(architecture, false)?;
        let loss = PreferenceLoss { kind, center_rewards_coefficient: 0.01 };
        let config = TrainConfig { loss, ..train_config(300) };
        let learner = (&mut tuning, architecture);
        train(learner, learned, &config, &exam(kept), &RunOutputs::default(), &mut log()?)?;
        assert!(
            tuning.progress.target_reached && tuning.progress.step < 300,
            "{:?}",
            tuning.progress
        );
        let mut twin = tuning.parameters.for_inference();
        let model = RewardModel::new(&tuning.config, architecture, &mut twin)?;
        assert_eq!(evaluate(&model, kept, 8)?.0.accuracy, 1.);
    }
    Ok(())
}

#[test]
fn nothing_to_learn_or_to_measure_is_an_error() -> Result<()> {
    let pairs = pairs()?;
    let mut tuning = tuning(RewardArchitecture::Causal, false)?;
    let learner = (&mut tuning, RewardArchitecture::Causal);
    let none =
        train(learner, &[], &train_config(3), &exam(&pairs), &RunOutputs::default(), &mut log()?);
    assert!(none.expect_err("no pair").to_string().contains("no pair to learn from"));
    let (model, _) = model(RewardArchitecture::Causal, 1)?;
    assert!(evaluate(&model, &[], 8).is_err());
    Ok(())
}
