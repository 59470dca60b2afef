//! The loop: interrupted runs arrive where uninterrupted ones do, in parts as in one, and either form learns manners.

use std::num::NonZeroUsize;

use anyhow::Result;
use scaling::accumulation::gradients_of;
use scaling::schedule::Decay;
use scaling::{Checkpoints, Schedule};
use sft::{Keeper, Layers, LoraConfig, Outputs, Place, RunLog, Tuning};
use tensor_core::AdamWConfig;
use tensor_core::testing::assert_close;
use tiny_gpt::Interrupt;

use super::{BOTH, CPU, checkpoint, model, speech};
use crate::{
    Architecture, Batch, Exam, LossKind, Pair, Preference, PreferenceLoss, RewardCheckpoint,
    RewardModel, TrainConfig, evaluate, start, tokenize, train,
};

const LOSS: PreferenceLoss = PreferenceLoss { kind: LossKind::BradleyTerry, centring: 0.01 };

pub(super) fn train_config(steps: usize) -> TrainConfig {
    TrainConfig {
        batch_size: 4,
        accumulate: 2,
        loss: LOSS,
        schedule: Schedule {
            peak: 5e-3,
            floor: 5e-3,
            warmup: 2,
            total: steps,
            decay: Decay::Constant,
        },
        optimizer: AdamWConfig::default(),
        grad_clip: 1.,
        seed: 1,
    }
}

/// The answer that ends with 7 is the better one.
pub(super) fn pairs() -> Result<Vec<Pair>> {
    let words = ["the", "answer", "of", "all", "What", "is"];
    let each = words.iter().flat_map(|a| words.iter().map(move |b| (a, b)));
    let each =
        each.map(|(a, b)| Preference::new(format!("{a} {b}?"), format!("{b} 7"), format!("{b} 1")));
    Ok(tokenize(&each.collect::<Vec<_>>(), &speech()?, 64)?.pairs)
}

pub(super) fn exam(pairs: &[Pair]) -> Exam<'_> {
    Exam { pairs, batch_size: 8, interval: 10, stop_at: Some(1.) }
}

pub(super) fn log() -> Result<RunLog> {
    RunLog::new(100, 2, 0, 10)
}

pub(super) fn tuning(architecture: Architecture, lora: bool) -> Result<Tuning> {
    let begun = RewardCheckpoint::begin(checkpoint(3)?, architecture, None, 7)?;
    let config = *begun.model.body().config();
    let lora = lora.then_some(LoraConfig { rank: 2, alpha: 4., dropout: 0.1, layers: Layers::All });
    let parameters = match lora {
        Some(lora) => start::with_adapters(&begun.parameters, (&config, architecture), &lora, 1)?,
        None => begun.parameters,
    };
    Tuning::new(config, parameters, AdamWConfig::default())
}

pub(super) fn bits(tuning: &Tuning) -> Result<Vec<Vec<f32>>> {
    tuning.parameters.iter().map(|p| Ok(p.var.flatten_all()?.to_vec1()?)).collect()
}

#[test]
fn a_run_in_pieces_arrives_where_a_run_in_one_does_bit_for_bit() -> Result<()> {
    let pairs = pairs()?;
    let (learned, kept) = pairs.split_at(19);
    let exam = Exam { interval: 0, stop_at: None, ..exam(kept) };
    let (speech, ends) = (speech()?, modern::model_folder::TextEnds::default());
    for lora in [false, true] {
        let mut whole = tuning(Architecture::Causal, lora)?;
        let learner = (&mut whole, Architecture::Causal);
        train(learner, learned, &train_config(7), &exam, &Outputs::default(), &mut log()?)?;

        let folder = tempfile::tempdir()?;
        let checkpoints = Checkpoints::new(folder.path().join("checkpoints"), NonZeroUsize::MIN);
        let keeper = Keeper { speech: &speech, ends: &ends, sampler: None, lora: None };
        for stop_after in [2, 3, 6, 7] {
            let mut piece = tuning(Architecture::Causal, lora)?;
            if let Some((_, path)) = checkpoints.newest()? {
                assert!(piece.restore(&path, "other data").is_err());
                piece.restore(&path, "these")?;
            }
            let place = Place {
                folder: folder.path(),
                keeper: &keeper,
                checkpoints: checkpoints.clone(),
                interval: 0,
                data: "these",
            };
            let (interrupt, stop_after) = (Interrupt::default(), Some(stop_after));
            let outputs = Outputs { place: Some(place), interrupt, stop_after };
            let learner = (&mut piece, Architecture::Causal);
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
        let of = |batches: &[Batch]| {
            let counts: Vec<usize> = batches.iter().map(Batch::n_pairs).collect();
            gradients_of(&parameters, batches, &counts, 1., |batch| {
                let [chosen, rejected] = batch.scores(&model)?;
                Ok(LOSS.of(&chosen, &rejected)?)
            })
        };
        let pairs: Vec<&Pair> = pairs.iter().take(5).collect();
        let (loss, whole) = of(&[Batch::of(&pairs, &CPU)?])?;
        let ragged = [Batch::of(&pairs[..1], &CPU)?, Batch::of(&pairs[1..], &CPU)?];
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
        let loss = PreferenceLoss { kind, centring: 0.01 };
        let config = TrainConfig { loss, ..train_config(300) };
        let learner = (&mut tuning, architecture);
        train(learner, learned, &config, &exam(kept), &Outputs::default(), &mut log()?)?;
        assert!(tuning.state.passed && tuning.state.step < 300, "{:?}", tuning.state);
        let mut twin = tuning.parameters.inference();
        let model = RewardModel::new(&tuning.config, architecture, &mut twin)?;
        assert_eq!(evaluate(&model, kept, 8)?.0.accuracy, 1.);
    }
    Ok(())
}

#[test]
fn nothing_to_learn_or_to_measure_is_an_error() -> Result<()> {
    let pairs = pairs()?;
    let mut tuning = tuning(Architecture::Causal, false)?;
    let learner = (&mut tuning, Architecture::Causal);
    let none =
        train(learner, &[], &train_config(3), &exam(&pairs), &Outputs::default(), &mut log()?);
    assert!(none.expect_err("no pair").to_string().contains("no pair to learn from"));
    let (model, _) = model(Architecture::Causal, 1)?;
    assert!(evaluate(&model, &[], 8).is_err());
    Ok(())
}
