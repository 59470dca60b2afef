use anyhow::Result;
use candle_core::DType;
use modern::ModelConfig;
use tensor_core::{AdamWConfig, Parameters};
use tiny_gpt::builtin_text::BuiltinText;
use tiny_gpt::{Corpus, LanguageModel, LrDecay, RunLog};

use super::CPU;
use crate::config::{Balancing, MoeConfig, RouterConfig, Selection, Strain};
use crate::model::moved_by_hand;
use crate::training::{Trained, loads_on, worst};
use crate::{GptMoe, TrainConfig, train};

/// A short run, and the load of the worst layer on held-out text after it.
fn run(balancing: Balancing, selection: Selection, strain: Strain) -> Result<(Trained, f64)> {
    let router = RouterConfig { selection, ..RouterConfig::new(4, 1) };
    let config = MoeConfig::of_equal_work(&ModelConfig::bytes(32, 1, 2, 32), router)?;
    let mut corpus = Corpus::from_bytes(BuiltinText::English.text().as_bytes());
    corpus.validation.truncate(3_000);
    let mut parameters = Parameters::seeded(1, DType::F32, &CPU);
    GptMoe::new(&config, parameters.root())?;
    parameters.freeze(moved_by_hand);
    let model = GptMoe::strained(&config, parameters.root(), strain)?;
    let run = tiny_gpt::TrainConfig {
        steps: 300,
        batch_size: 8,
        lr: 4e-3,
        lr_decay: LrDecay::Linear,
        optimizer: AdamWConfig { beta2: 0.99, ..AdamWConfig::default() },
        grad_clip: Some(1.),
        eval_interval: 300,
        sample_interval: 0,
    };
    let mut log = RunLog::new(run.steps)?;
    let trained =
        train(&model, &parameters, &corpus, &TrainConfig { run, balancing }, 1, &mut log)?;
    let loads = loads_on(&model.inference_twin(&parameters)?, &corpus.validation, 8)?;
    Ok((trained, worst(&loads)))
}

#[test]
fn a_loss_or_a_bias_keeps_the_load_even_and_nothing_does_without() -> Result<()> {
    let none = Balancing { balance: 0., z: 0., bias_speed: 0. };
    let (free, uneven) = run(none, Selection::Probability, Strain::default())?;
    let loss = Balancing { balance: 0.1, ..none };
    let (balanced, even) = run(loss, Selection::Probability, Strain::default())?;
    let bias = Balancing { bias_speed: 0.003, ..none };
    let (_, even_too) = run(bias, Selection::Biased, Strain::default())?;
    println!("{uneven} {even} {even_too}; losses {} {}", free.best.loss, balanced.best.loss);
    assert!(uneven > 2., "{uneven}");
    assert!(even < 1.5 && even_too < 1.5, "{even} {even_too}");
    Ok(())
}

#[test]
fn a_capacity_that_is_too_small_is_counted_and_the_run_goes_on() -> Result<()> {
    let balancing = Balancing { balance: 0.05, z: 0., bias_speed: 0. };
    let strain = Strain { jitter: 0.01, capacity_factor: Some(0.5) };
    let (trained, _) = run(balancing, Selection::Probability, strain)?;
    assert!(trained.dropped >= 0.5 && trained.dropped < 1., "{}", trained.dropped);
    assert!(trained.best.loss < 4.);
    Ok(())
}

#[test]
fn the_same_seed_gives_the_same_bits() -> Result<()> {
    let balancing = Balancing { balance: 0.05, z: 0.001, bias_speed: 0.01 };
    let one = run(balancing, Selection::Biased, Strain::default())?;
    let two = run(balancing, Selection::Biased, Strain::default())?;
    assert_eq!((one.0.best, one.1), (two.0.best, two.1));
    Ok(())
}
