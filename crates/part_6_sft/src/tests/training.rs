//! The loop: ragged parts make up their whole, interrupted runs arrive where uninterrupted ones do, and a model learns to
//! answer and to stop.

mod kept;

use std::num::NonZeroUsize;

use anyhow::Result;
use candle_core::DType;
use modern::GptModern;
use scaling::accumulation::gradients_of_mean_loss;
use scaling::schedule::DecayShape;
use scaling::{Checkpoints, LrSchedule};
use tensor_core::testing::assert_close;
use tensor_core::{AdamWConfig, Parameters, Rng};
use tiny_gpt::Interrupt;

use super::{CPU, checkpoint, config, speech};
use crate::evaluation::GenerationEvalConfig;
use crate::lora::attach;
use crate::{
    BatchLayout, ChatFormat, Curriculum, Example, LoraConfig, ModelSaver, RunDestination,
    RunOutputs, SftBatch, SftLog, SftValidator, TargetModules, TokenizedExample, TrainConfig,
    TrainState, evaluate, tokenize, train,
};

fn train_config(steps: usize) -> TrainConfig {
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
        optimizer: AdamWConfig::default(),
        max_grad_norm: 1.,
        seed: 1,
    }
}

fn examples(n: usize) -> Vec<TokenizedExample> {
    let mut rng = Rng::new(2);
    let each = (0..n).map(|_| {
        let len = 3 + rng.below(9);
        let ids = (0..len).map(|_| rng.below(400) as u32).collect();
        TokenizedExample { ids, prompt_len: 1 + rng.below(len - 1) }
    });
    each.collect()
}

fn log() -> Result<SftLog> {
    SftLog::new(100, 2, 0, 10)
}

#[test]
fn ragged_examples_one_by_one_give_the_gradient_of_the_batch() -> Result<()> {
    let mut parameters = Parameters::seeded(3, DType::F32, &CPU);
    let model = GptModern::new(&config(16), parameters.root())?;
    let loss_of = |batch: &SftBatch| Ok(batch.loss(&model)?);
    let of = |batches: &[SftBatch]| {
        let counts: Vec<usize> = batches.iter().map(SftBatch::n_targets).collect();
        gradients_of_mean_loss(&parameters, batches, &counts, 1., loss_of)
    };
    let examples = examples(7);
    let (loss, whole) = of(&[SftBatch::padded(&examples, &CPU)?])?;
    let ones = examples.iter().map(|one| SftBatch::padded(std::slice::from_ref(one), &CPU));
    let (again, parts) = of(&ones.collect::<candle_core::Result<Vec<_>>>()?)?;
    assert!((loss - again).abs() < 1e-5, "{loss} {again}");
    for parameter in parameters.iter() {
        let [a, b] =
            [&whole, &parts].map(|grads| grads.get(parameter.var.as_tensor()).expect("one"));
        assert_close(a, b, 1e-4)?;
    }
    Ok(())
}

fn adapters() -> LoraConfig {
    LoraConfig { rank: 2, alpha: 4., dropout: 0.1, target_modules: TargetModules::All }
}

fn tuning(lora: bool) -> Result<TrainState> {
    tuned_by(AdamWConfig::default(), lora)
}

fn tuned_by(optimizer: AdamWConfig, lora: bool) -> Result<TrainState> {
    let mut parameters = Parameters::seeded(3, DType::F32, &CPU);
    GptModern::new(&config(16), parameters.root())?;
    if lora {
        attach(&mut parameters, &adapters(), 1)?;
    }
    TrainState::new(config(16), parameters, optimizer)
}

fn bits(tuning: &TrainState) -> Result<Vec<Vec<f32>>> {
    tuning.parameters.iter().map(|p| Ok(p.var.flatten_all()?.to_vec1()?)).collect()
}

#[test]
fn a_run_in_pieces_arrives_where_a_run_in_one_does_bit_for_bit() -> Result<()> {
    let examples = examples(19);
    let speech = speech(ChatFormat::Plain)?;
    for lora in [false, true] {
        let mut whole = tuning(lora)?;
        train(&mut whole, &examples, &train_config(7), None, &RunOutputs::default(), &mut log()?)?;

        let folder = tempfile::tempdir()?;
        let checkpoints = Checkpoints::new(folder.path().join("checkpoints"), NonZeroUsize::MIN);
        let ends = modern::model_folder::SpecialTokenIds::default();
        let keeper =
            ModelSaver { chat_tokenizer: &speech, special_ids: &ends, sampler: None, lora: None };
        for stop_after in [2, 3, 6, 7] {
            let mut piece = tuning(lora)?;
            if let Some((_, path)) = checkpoints.latest()? {
                assert!(piece.restore(&path, "other data").is_err());
                piece.restore(&path, "these")?;
            }
            let place = RunDestination::new(folder.path(), &keeper, "these");
            let (interrupt, stop_after) = (Interrupt::default(), Some(stop_after));
            let outputs = RunOutputs { destination: Some(place), interrupt, stop_after };
            train(&mut piece, &examples, &train_config(7), None, &outputs, &mut log()?)?;
            if stop_after == Some(7) {
                assert_eq!(bits(&piece)?, bits(&whole)?, "lora {lora}");
            }
        }
        let (_, path) = checkpoints.latest()?.expect("one");
        assert!(tuning(!lora)?.restore(&path, "these").is_err(), "another kind of run");
    }
    Ok(())
}

#[test]
fn a_model_learns_to_answer_and_to_stop_and_the_run_ends_when_it_does() -> Result<()> {
    let checkpoint = checkpoint(1)?;
    let speech = speech(ChatFormat::Plain)?;
    let examples: Vec<Example> =
        ["12", "7", "all", "the"].map(|word| Example::new(format!("What is {word}?"), word)).into();
    let tokens = tokenize(&examples, &speech, 64)?.examples;
    let mut parameters = Parameters::seeded(1, DType::F32, &CPU);
    GptModern::new(checkpoint.model.config(), parameters.root())?;
    let mut tuning =
        TrainState::new(*checkpoint.model.config(), parameters, AdamWConfig::default())?;
    let extent = GenerationEvalConfig { batch_size: 4, max_new_tokens: 6 };
    let exam = SftValidator {
        examples: &examples,
        chat_tokenizer: &speech,
        eval_config: extent,
        interval: 10,
        target_exact_match: Some(1.),
    };
    let config = train_config(400);
    train(
        &mut tuning,
        &tokens,
        &config,
        Some(&exam),
        &RunOutputs::default(),
        &mut SftLog::new(400, 2, 0, 10)?,
    )?;
    assert!(tuning.progress.target_reached && tuning.progress.step < 400, "{:?}", tuning.progress);
    let twin = GptModern::new(&tuning.config, tuning.parameters.for_inference().root())?;
    let (found, answers) = evaluate(&twin, &examples, &speech, extent)?;
    assert_eq!((found.exact_match, found.eos_rate), (1., 1.), "{answers:?}");
    Ok(())
}

#[test]
fn packed_rows_train_the_same_model_as_padded_ones() -> Result<()> {
    let examples = examples(16);
    let mut runs = [BatchLayout::Padded, BatchLayout::Packed(16)].map(|rows| {
        let mut tuning = tuning(false)?;
        let config = TrainConfig { batch_layout: rows, ..train_config(3) };
        train(&mut tuning, &examples, &config, None, &RunOutputs::default(), &mut log()?)?;
        bits(&tuning)
    });
    let [a, b] = &mut runs;
    let (a, b) = (a.as_ref().expect("a run"), b.as_ref().expect("a run"));
    for (a, b) in a.iter().flatten().zip(b.iter().flatten()) {
        assert!((a - b).abs() < 1e-3, "{a} {b}");
    }
    Ok(())
}

#[test]
fn four_examples_one_by_one_train_the_model_that_four_at_a_time_do() -> Result<()> {
    // Ragged, so that a mean of means would be another loss; by length, so that both take the same ones in the same order.
    let optimizer = AdamWConfig { eps: 1., ..AdamWConfig::default() }; // steps as long as gradients
    let of = |batch_size, accumulate| {
        let mut tuning = tuned_by(optimizer, false)?;
        let config = train_config(2);
        let schedule = LrSchedule { peak_lr: 0.1, min_lr: 0.1, ..config.schedule };
        let curriculum = Curriculum::ByLength;
        let config = TrainConfig {
            batch_size,
            grad_accum_steps: accumulate,
            curriculum,
            schedule,
            ..config
        };
        train(&mut tuning, &examples(8), &config, None, &RunOutputs::default(), &mut log()?)?;
        bits(&tuning)
    };
    for (a, b) in of(4, 1)?.iter().flatten().zip(of(1, 4)?.iter().flatten()) {
        assert!((a - b).abs() < 1e-5, "{a} {b}");
    }
    Ok(())
}

#[test]
fn the_gradient_is_clipped_and_the_rate_is_the_schedules() -> Result<()> {
    let optimizer = AdamWConfig { weight_decay: 0., ..AdamWConfig::default() };
    let after = |grad_clip, schedule, stop_after| {
        let mut tuning = tuned_by(optimizer, false)?;
        let config = TrainConfig { max_grad_norm: grad_clip, schedule, ..train_config(2) };
        let outputs = RunOutputs { stop_after: Some(stop_after), ..RunOutputs::default() };
        train(&mut tuning, &examples(8), &config, None, &outputs, &mut log()?)?;
        bits(&tuning)
    };
    let steady = train_config(2).schedule;
    let (before, still) = (bits(&tuning(false)?)?, after(1e-14, steady, 2)?);
    for (a, b) in before.iter().flatten().zip(still.iter().flatten()) {
        assert!((a - b).abs() < 1e-6, "far below Adam's epsilon, nothing moves: {a} {b}");
    }
    let falling = LrSchedule { warmup_steps: 0, min_lr: 0., decay: DecayShape::Cosine, ..steady };
    assert_eq!(falling.lr_at(2), 0.);
    assert_ne!(after(1., falling, 1)?, before);
    assert_eq!(after(1., falling, 2)?, after(1., falling, 1)?, "the second step has rate 0");
    Ok(())
}

#[test]
fn nothing_to_learn_is_an_error() -> Result<()> {
    let none = train(
        &mut tuning(false)?,
        &[],
        &train_config(3),
        None,
        &RunOutputs::default(),
        &mut log()?,
    );
    assert!(none.expect_err("no example").to_string().contains("no example"));
    let mut parameters = Parameters::seeded(3, DType::F32, &CPU);
    GptModern::new(&config(16), parameters.root())?;
    parameters.freeze(|_| true);
    assert!(TrainState::new(config(16), parameters, AdamWConfig::default()).is_err());
    Ok(())
}
