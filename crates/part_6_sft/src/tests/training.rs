//! Training loop: gradient accumulation is exact, resumed runs equal uninterrupted ones, and a
//! model learns to answer and to stop.

mod model_saving;

use std::num::NonZeroUsize;

use anyhow::Result;
use candle_core::DType;
use datasets::Example;
use experiment::{Checkpoints, Run, RunCheckpoints, RunLog, TrainState};
use model_io::LoraConfig;
use modern::GptModern;
use scaling::LrSchedule;
use scaling::accumulation::GradAccumulator;
use scaling::schedule::DecayShape;
use tensor_core::testing::assert_close;
use tensor_core::{AdamWConfig, Parameters, Rng};

use super::{CPU, chat_tokenizer, checkpoint, config};
use crate::evaluation::GenerationEvalConfig;
use crate::lora::attach;
use crate::{
    BatchLayout, ChatFormat, Curriculum, SftBatch, SftValidator, TokenizedExample, TrainConfig,
    evaluate, tokenize, train,
};

pub(super) fn train_config(steps: usize) -> TrainConfig {
    TrainConfig {
        batch_size: 4,
        grad_accum_steps: 2,
        curriculum: Curriculum::Shuffled,
        batch_layout: BatchLayout::Padded,
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

pub(super) fn examples(n: usize) -> Vec<TokenizedExample> {
    let mut rng = Rng::new(2);
    let examples = (0..n).map(|_| {
        let len = 3 + rng.below(9);
        let ids = (0..len).map(|_| rng.below(400) as u32).collect();
        TokenizedExample::new(ids, 1 + rng.below(len - 1))
    });
    examples.collect()
}

fn log() -> Result<RunLog> {
    RunLog::of_losses(100)
}

/// Trains the model of `state` in the run `run`.
pub(super) fn train_in(
    state: &mut TrainState,
    examples: &[TokenizedExample],
    config: &TrainConfig,
    run: &Run,
) -> Result<()> {
    let model = GptModern::new(&super::config(16), state.parameters.root())?;
    train(&model, state, examples, config, None, run, &mut log()?)
}

#[test]
fn accumulated_single_examples_give_the_gradient_of_the_batch() -> Result<()> {
    let mut parameters = Parameters::seeded(3, DType::F32, &CPU);
    let model = GptModern::new(&config(16), parameters.root())?;
    let gradients = |batches: &[SftBatch]| {
        let n_targets: usize = batches.iter().map(SftBatch::n_targets).sum();
        let mut accumulator = GradAccumulator::default();
        for batch in batches {
            let share = batch.n_targets() as f64 / n_targets as f64;
            accumulator.backward(&(batch.loss(&model)? * share)?, &[&parameters])?;
        }
        accumulator.finish()
    };
    let examples = examples(7);
    let (loss, whole) = gradients(&[SftBatch::padded(&examples, &CPU)?])?;
    let singles =
        examples.iter().map(|example| SftBatch::padded(std::slice::from_ref(example), &CPU));
    let (again, parts) = gradients(&singles.collect::<candle_core::Result<Vec<_>>>()?)?;
    assert_close(loss, again, 1e-5);
    for parameter in parameters.iter() {
        let [a, b] =
            [&whole, &parts].map(|grads| grads.get(parameter.var.as_tensor()).expect("a gradient"));
        assert_close(a, b, 1e-4);
    }
    Ok(())
}

fn adapters() -> LoraConfig {
    LoraConfig { dropout: 0.1, ..LoraConfig::new(2) }
}

pub(super) fn train_state(lora: bool) -> Result<TrainState> {
    train_state_with(AdamWConfig::default(), lora)
}

fn train_state_with(optimizer: AdamWConfig, lora: bool) -> Result<TrainState> {
    let mut parameters = Parameters::seeded(3, DType::F32, &CPU);
    GptModern::new(&config(16), parameters.root())?;
    if lora {
        attach(&mut parameters, &adapters(), 1)?;
    }
    TrainState::new(parameters, optimizer)
}

fn weights(train_state: &TrainState) -> Result<Vec<Vec<f32>>> {
    train_state.parameters.iter().map(|p| Ok(p.var.flatten_all()?.to_vec1()?)).collect()
}

#[test]
fn resuming_gives_the_same_weights_bit_for_bit() -> Result<()> {
    let examples = examples(19);
    for lora in [false, true] {
        let mut whole = train_state(lora)?;
        train_in(&mut whole, &examples, &train_config(7), &Run::default())?;

        let folder = tempfile::tempdir()?;
        let checkpoints = Checkpoints::new(folder.path().join("checkpoints"), NonZeroUsize::MIN);
        for stop_after in [2, 3, 6, 7] {
            let mut resumed = train_state(lora)?;
            if let Some((_, path)) = checkpoints.latest()? {
                assert!(resumed.restore(&path, "other data").is_err());
                resumed.restore(&path, "these")?;
            }
            let run = Run {
                checkpoints: Some(RunCheckpoints::at_end(folder.path(), "these")),
                stop_after: Some(stop_after),
                ..Run::default()
            };
            train_in(&mut resumed, &examples, &train_config(7), &run)?;
            if stop_after == 7 {
                assert_eq!(weights(&resumed)?, weights(&whole)?, "lora {lora}");
            }
        }
        let (_, path) = checkpoints.latest()?.expect("a checkpoint");
        assert!(train_state(!lora)?.restore(&path, "these").is_err(), "another kind of run");
    }
    Ok(())
}

#[test]
fn a_model_learns_to_answer_and_stop_and_the_run_ends_at_its_target() -> Result<()> {
    let checkpoint = checkpoint(1)?;
    let chat_tokenizer = chat_tokenizer(ChatFormat::Plain)?;
    let examples: Vec<Example> =
        ["12", "7", "all", "the"].map(|word| Example::new(format!("What is {word}?"), word)).into();
    let tokens = tokenize(&examples, &chat_tokenizer, 64)?.examples;
    let mut parameters = Parameters::seeded(1, DType::F32, &CPU);
    let model = GptModern::new(checkpoint.model.config(), parameters.root())?;
    let mut train_state = TrainState::new(parameters, AdamWConfig::default())?;
    let eval_config = GenerationEvalConfig { batch_size: 4, max_new_tokens: 6, max_length: None };
    let validator = SftValidator {
        examples: &examples,
        chat_tokenizer: &chat_tokenizer,
        eval_config,
        interval: 10,
        target_exact_match: Some(1.),
        model_saver: None,
    };
    let config = train_config(400);
    let (run, mut log) = (Run::default(), RunLog::of_losses(400)?);
    train(&model, &mut train_state, &tokens, &config, Some(&validator), &run, &mut log)?;
    assert!(
        train_state.progress.target_reached && train_state.progress.step < 400,
        "{:?}",
        train_state.progress
    );
    let inference_model =
        GptModern::new(model.config(), train_state.parameters.for_inference().root())?;
    let (metrics, completions) =
        evaluate(&inference_model, &examples, &chat_tokenizer, eval_config)?;
    assert_eq!((metrics.exact_match, metrics.eos_rate), (1., 1.), "{completions:?}");
    Ok(())
}

#[test]
fn packed_and_padded_training_give_the_same_weights() -> Result<()> {
    let examples = examples(16);
    let mut runs = [BatchLayout::Padded, BatchLayout::Packed(16)].map(|batch_layout| {
        let mut train_state = train_state(false)?;
        let config = TrainConfig { batch_layout, ..train_config(3) };
        train_in(&mut train_state, &examples, &config, &Run::default())?;
        weights(&train_state)
    });
    let [a, b] = &mut runs;
    let (a, b) = (a.as_ref().expect("a run"), b.as_ref().expect("a run"));
    for (a, b) in a.iter().flatten().zip(b.iter().flatten()) {
        assert_close(a, b, 1e-3);
    }
    Ok(())
}

#[test]
fn gradient_accumulation_gives_the_weights_of_a_larger_batch() -> Result<()> {
    // The lengths differ, so that a mean of means would be another loss. The order is by length, so
    // that both runs use the same examples in the same order. With a large ε, a step is
    // proportional to the gradient.
    let optimizer = AdamWConfig { eps: 1., ..AdamWConfig::default() };
    let weights_after = |batch_size, grad_accum_steps| {
        let mut train_state = train_state_with(optimizer, false)?;
        let config = train_config(2);
        let schedule = LrSchedule { peak_lr: 0.1, min_lr: 0.1, ..config.schedule };
        let curriculum = Curriculum::ByLength;
        let config = TrainConfig { batch_size, grad_accum_steps, curriculum, schedule, ..config };
        train_in(&mut train_state, &examples(8), &config, &Run::default())?;
        weights(&train_state)
    };
    for (a, b) in weights_after(4, 1)?.iter().flatten().zip(weights_after(1, 4)?.iter().flatten()) {
        assert_close(a, b, 1e-5);
    }
    Ok(())
}

#[test]
fn gradients_are_clipped_and_the_lr_follows_the_schedule() -> Result<()> {
    let optimizer = AdamWConfig { weight_decay: 0., ..AdamWConfig::default() };
    let after = |max_grad_norm, schedule, stop_after| {
        let mut train_state = train_state_with(optimizer, false)?;
        let config = TrainConfig { max_grad_norm, schedule, ..train_config(2) };
        let run = Run { stop_after: Some(stop_after), ..Run::default() };
        train_in(&mut train_state, &examples(8), &config, &run)?;
        weights(&train_state)
    };
    let constant = train_config(2).schedule;
    let (before, still) = (weights(&train_state(false)?)?, after(1e-14, constant, 2)?);
    for (a, b) in before.iter().flatten().zip(still.iter().flatten()) {
        assert_close(a, b, 1e-6); // far below Adam's epsilon, weights do not move
    }
    let cosine = LrSchedule { warmup_steps: 0, min_lr: 0., decay: DecayShape::Cosine, ..constant };
    assert_eq!(cosine.lr_at(2), 0.);
    assert_ne!(after(1., cosine, 1)?, before);
    assert_eq!(after(1., cosine, 2)?, after(1., cosine, 1)?, "the second step has learning rate 0");
    Ok(())
}

#[test]
fn training_without_examples_or_trainable_weights_fails() -> Result<()> {
    let result = train_in(&mut train_state(false)?, &[], &train_config(3), &Run::default());
    assert!(result.expect_err("no examples").to_string().contains("no training examples"));
    let mut parameters = Parameters::seeded(3, DType::F32, &CPU);
    GptModern::new(&config(16), parameters.root())?;
    parameters.freeze(|_| true);
    assert!(TrainState::new(parameters, AdamWConfig::default()).is_err());
    Ok(())
}
