use anyhow::Result;
use candle_core::DType;
use modern::{GptModern, ModelConfig};
use tensor_core::{AdamWConfig, Parameters};
use tiny_gpt::builtin_text::BuiltinText;
use tiny_gpt::{ByteCorpus, LanguageModel, LrDecay, TrainLog};

use super::CPU;
use crate::config::{
    ExpertSelection, LoadBalancing, MoeConfig, RouterConfig, RouterTrainingConfig,
};
use crate::load_monitor::{LoadMonitor, max_load_ratio, measure_loads};
use crate::model::is_selection_bias;
use crate::training::MoeTrainOutcome;
use crate::{ExpertLoad, GptMoe, TrainConfig, train};

/// A short run, and the load of the worst layer on held-out text after it.
fn run(
    balancing: LoadBalancing,
    selection: ExpertSelection,
    strain: RouterTrainingConfig,
) -> Result<(MoeTrainOutcome, f64)> {
    let router = RouterConfig { expert_selection: selection, ..RouterConfig::new(4, 1) };
    let config = MoeConfig::with_flops_of(&ModelConfig::byte_level(32, 1, 2, 32), router)?;
    let mut corpus = ByteCorpus::from_bytes(BuiltinText::English.text().as_bytes());
    corpus.validation.truncate(3_000);
    let mut parameters = Parameters::seeded(1, DType::F32, &CPU);
    let model = GptMoe::new_for_training(&config, parameters.root(), strain)?;
    parameters.freeze(is_selection_bias);
    let run = tiny_gpt::TrainConfig {
        steps: 300,
        batch_size: 8,
        lr: 4e-3,
        lr_scheduler: LrDecay::Linear,
        optimizer: AdamWConfig { beta2: 0.99, ..AdamWConfig::default() },
        max_grad_norm: Some(1.),
        eval_interval: 300,
        sample_interval: 0,
    };
    let mut log = TrainLog::new(run.steps)?;
    let trained = train(
        &model,
        &parameters,
        &corpus,
        &TrainConfig { base: run, load_balancing: balancing },
        1,
        &mut log,
    )?;
    let loads = measure_loads(&model.for_inference(&parameters)?, &corpus.validation, 8)?;
    Ok((trained, max_load_ratio(&loads)))
}

#[test]
fn a_loss_or_a_bias_keeps_the_load_even_and_nothing_does_without() -> Result<()> {
    let none = LoadBalancing { aux_loss_coef: 0., z_loss_coef: 0., bias_update_rate: 0. };
    let (free, uneven) = run(none, ExpertSelection::Probability, RouterTrainingConfig::default())?;
    let loss = LoadBalancing { aux_loss_coef: 0.1, ..none };
    let (balanced, even) =
        run(loss, ExpertSelection::Probability, RouterTrainingConfig::default())?;
    let bias = LoadBalancing { bias_update_rate: 0.003, ..none };
    let (_, even_too) = run(bias, ExpertSelection::Biased, RouterTrainingConfig::default())?;
    println!(
        "{uneven} {even} {even_too}; losses {} {}",
        free.best_eval.loss, balanced.best_eval.loss
    );
    assert!(uneven > 2., "{uneven}");
    assert!(even < 1.5 && even_too < 1.5, "{even} {even_too}");
    Ok(())
}

#[test]
fn a_capacity_that_is_too_small_is_counted_and_the_run_goes_on() -> Result<()> {
    let balancing = LoadBalancing { aux_loss_coef: 0.05, z_loss_coef: 0., bias_update_rate: 0. };
    let strain = RouterTrainingConfig { jitter: 0.01, capacity_factor: Some(0.5) };
    let (trained, _) = run(balancing, ExpertSelection::Probability, strain)?;
    assert!(
        trained.dropped_fraction >= 0.5 && trained.dropped_fraction < 1.,
        "{}",
        trained.dropped_fraction
    );
    assert!(trained.best_eval.loss < 4.);
    Ok(())
}

#[test]
fn the_same_seed_gives_the_same_bits() -> Result<()> {
    let balancing =
        LoadBalancing { aux_loss_coef: 0.05, z_loss_coef: 0.001, bias_update_rate: 0.01 };
    let one = run(balancing, ExpertSelection::Biased, RouterTrainingConfig::default())?;
    let two = run(balancing, ExpertSelection::Biased, RouterTrainingConfig::default())?;
    assert_eq!((one.0.best_eval, one.1), (two.0.best_eval, two.1));
    Ok(())
}

/// Part 2's loop on part 3's model, and this part's on one expert with the same weights: the same batches, steps and looks.
#[test]
fn one_expert_trains_as_the_dense_model_does() -> Result<()> {
    let dense = ModelConfig::byte_level(16, 1, 2, 16);
    let config = MoeConfig::with_flops_of(&dense, RouterConfig::new(1, 1))?;
    let corpus = ByteCorpus::from_bytes(&BuiltinText::English.text().as_bytes()[..9_000]);
    let run = tiny_gpt::TrainConfig {
        steps: 15,
        batch_size: 4,
        lr: 0.01,
        lr_scheduler: LrDecay::Constant,
        optimizer: AdamWConfig::default(),
        max_grad_norm: Some(0.05),
        eval_interval: 1,
        sample_interval: 0,
    };
    let (mut a, mut b) =
        (Parameters::seeded(1, DType::F32, &CPU), Parameters::seeded(2, DType::F32, &CPU));
    let (model, mixed) = (GptModern::new(&dense, a.root())?, GptMoe::new(&config, b.root())?);
    for parameter in b.iter().filter(|parameter| !parameter.name.contains("gate.weight")) {
        let name = [("w1", "gate_proj"), ("w2", "down_proj"), ("w3", "up_proj")].iter().fold(
            parameter.name.replace("block_sparse_moe.experts.0", "mlp"),
            |name, (ours, theirs)| name.replace(ours, theirs),
        );
        let theirs = a.iter().find(|theirs| theirs.name == name).expect("the same weights");
        parameter.var.set(theirs.var.as_tensor())?;
    }
    let expected = tiny_gpt::train(&model, &a, &corpus, &run, 1, &mut TrainLog::new(run.steps)?)?;
    let balancing = LoadBalancing { aux_loss_coef: 0., z_loss_coef: 0., bias_update_rate: 0. };
    let of = |run, corpus| {
        let mut log = TrainLog::new(15)?;
        train(
            &mixed,
            &b,
            corpus,
            &TrainConfig { base: run, load_balancing: balancing },
            1,
            &mut log,
        )
    };
    let found = of(run, &corpus)?.best_eval;
    assert!((found.loss - expected.loss).abs() < 1e-4, "{} {}", found.loss, expected.loss);

    // Held-out bytes that never occur are expected less and less: the first look is the best.
    let strange = ByteCorpus { validation: (128..228).collect(), ..corpus.clone() };
    let first = of(run, &strange)?.best_eval;
    let last = tiny_gpt::evaluate(&mixed.for_inference(&b)?, &strange.validation, 4, &CPU)?;
    assert!(last.loss > first.loss + 0.1, "{} {}", last.loss, first.loss);

    let wild = tiny_gpt::TrainConfig { lr: 1e30, max_grad_norm: None, ..run };
    let error = of(wild, &strange).expect_err("NaN").to_string();
    assert!(error.contains("try a smaller --lr"), "{error}");
    Ok(())
}

#[test]
fn the_load_on_a_text_is_that_of_all_its_tokens_layer_by_layer() -> Result<()> {
    let config =
        MoeConfig::with_flops_of(&ModelConfig::byte_level(8, 2, 2, 16), RouterConfig::new(4, 2))?;
    let (model, _) = super::fresh(&config, DType::F32)?;
    let text: Vec<u32> = (0..101).map(|i| i * 7 % 256).collect();
    let loads = measure_loads(&model, &text, 3)?; // 12 windows of 8 tokens and one of 4
    assert_eq!(loads.iter().map(ExpertLoad::total).collect::<Vec<_>>(), [200, 200]);
    assert_ne!(loads[0], loads[1]);
    Ok(())
}

#[test]
fn the_curve_of_the_load_has_the_worst_layer_of_each_interval_and_of_the_rest() {
    let (even, one) = (ExpertLoad::new(&[0, 1], 2, 0), ExpertLoad::new(&[1, 1], 2, 1));
    assert_eq!(max_load_ratio(&[even.clone(), one.clone()]), 2.);
    let mut watch = LoadMonitor::new();
    for step in 0..23 {
        let second = if (10..20).contains(&step) { &one } else { &even };
        watch.update(&[even.clone(), second.clone()]);
    }
    assert!((watch.dropped_fraction() - 10. / 92.).abs() < 1e-12);
    assert_eq!(watch.curve().points(), [(10., 1.), (20., 2.), (23., 1.)]);
}
