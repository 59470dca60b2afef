use anyhow::Result;
use candle_core::DType;
use datasets::builtin_text::BuiltinText;
use experiment::{Run, RunLog};
use model_io::ModelConfig;
use modern::GptModern;
use tensor_core::testing::assert_close;
use tensor_core::{AdamWConfig, Parameters};
use tiny_gpt::{ByteCorpus, LanguageModel, LrDecay};

use super::CPU;
use crate::config::{
    ExpertSelection, LoadBalancing, MoeConfig, RouterConfig, RouterTrainingConfig,
};
use crate::load_monitor::{LoadMonitor, max_load_ratio, measure_loads};
use crate::model::is_selection_bias;
use crate::{ExpertLoad, GptMoe, MoeTrainOutcome, MoeTrainState, TrainConfig, train};

/// Outcome of a short run, and the load ratio of the worst layer on validation text after it.
fn run(
    balancing: LoadBalancing,
    selection: ExpertSelection,
    router_training: RouterTrainingConfig,
) -> Result<(MoeTrainOutcome, f64)> {
    let router = RouterConfig { expert_selection: selection, ..RouterConfig::new(4, 1) };
    let config = MoeConfig::with_flops_of(&ModelConfig::byte_level(32, 1, 2, 32), router)?;
    let mut corpus = ByteCorpus::from_bytes(BuiltinText::English.text().as_bytes());
    corpus.validation.truncate(3_000);
    let mut parameters = Parameters::seeded(1, DType::F32, &CPU);
    let model = GptMoe::new_for_training(&config, parameters.root(), router_training)?;
    parameters.freeze(is_selection_bias);
    let base = tiny_gpt::TrainConfig { lr: 4e-3, ..tiny_gpt::TrainConfig::with_defaults(300, 8) };
    let config = TrainConfig { base, load_balancing: balancing };
    let (run, mut log) = (Run::default(), RunLog::of_losses(300)?);
    let mut state = MoeTrainState::new(parameters, base.optimizer, 1)?;
    train(&model, &mut state, &corpus, &config, None, &run, &mut log)?;
    let inference = model.for_inference(&state.train.parameters)?;
    let loads = measure_loads(&inference, &corpus.validation, 8)?;
    Ok((state.outcome()?, max_load_ratio(&loads)))
}

#[test]
fn the_loss_or_the_bias_balances_the_load_and_without_it_collapses() -> Result<()> {
    let disabled = LoadBalancing { aux_loss_coef: 0., z_loss_coef: 0., bias_update_rate: 0. };
    let (unbalanced, unbalanced_load) =
        run(disabled, ExpertSelection::Probability, RouterTrainingConfig::default())?;
    let loss = LoadBalancing { aux_loss_coef: 0.1, ..disabled };
    let (balanced, loss_load) =
        run(loss, ExpertSelection::Probability, RouterTrainingConfig::default())?;
    let bias = LoadBalancing { bias_update_rate: 0.003, ..disabled };
    let (_, bias_load) = run(bias, ExpertSelection::Biased, RouterTrainingConfig::default())?;
    println!(
        "{unbalanced_load} {loss_load} {bias_load}; losses {} {}",
        unbalanced.best_eval.loss, balanced.best_eval.loss
    );
    assert!(unbalanced_load > 2., "{unbalanced_load}");
    assert!(loss_load < 1.5 && bias_load < 1.5, "{loss_load} {bias_load}");
    Ok(())
}

#[test]
fn assignments_dropped_by_a_small_capacity_are_counted() -> Result<()> {
    let balancing = LoadBalancing { aux_loss_coef: 0.05, z_loss_coef: 0., bias_update_rate: 0. };
    let router_training = RouterTrainingConfig { jitter: 0.01, capacity_factor: Some(0.5) };
    let (outcome, _) = run(balancing, ExpertSelection::Probability, router_training)?;
    assert!(
        outcome.dropped_fraction >= 0.5 && outcome.dropped_fraction < 1.,
        "{}",
        outcome.dropped_fraction
    );
    assert!(outcome.best_eval.loss < 4.);
    Ok(())
}

#[test]
fn the_same_seed_gives_the_same_results_bit_for_bit() -> Result<()> {
    let balancing =
        LoadBalancing { aux_loss_coef: 0.05, z_loss_coef: 0.001, bias_update_rate: 0.01 };
    let first = run(balancing, ExpertSelection::Biased, RouterTrainingConfig::default())?;
    let second = run(balancing, ExpertSelection::Biased, RouterTrainingConfig::default())?;
    assert_eq!((first.0.best_eval, first.1), (second.0.best_eval, second.1));
    Ok(())
}

/// Compares part 2's loop on part 3's model with this part's loop on one expert with the same
/// weights: the same batches, steps and evaluations.
#[test]
fn one_expert_trains_like_the_dense_model() -> Result<()> {
    let dense = ModelConfig::byte_level(16, 1, 2, 16);
    let config = MoeConfig::with_flops_of(&dense, RouterConfig::new(1, 1))?;
    let corpus = ByteCorpus::from_bytes(&BuiltinText::English.text().as_bytes()[..9_000]);
    let base = tiny_gpt::TrainConfig {
        lr: 0.01,
        lr_scheduler: LrDecay::Constant,
        optimizer: AdamWConfig::default().into(),
        max_grad_norm: Some(0.05),
        eval_interval: 1,
        ..tiny_gpt::TrainConfig::with_defaults(15, 4)
    };
    let (mut a, mut b) =
        (Parameters::seeded(1, DType::F32, &CPU), Parameters::seeded(2, DType::F32, &CPU));
    let (dense_model, moe_model) =
        (GptModern::new(&dense, a.root())?, GptMoe::new(&config, b.root())?);
    for parameter in b.iter().filter(|parameter| !parameter.name.contains("gate.weight")) {
        let name = [("w1", "gate_proj"), ("w2", "down_proj"), ("w3", "up_proj")].iter().fold(
            parameter.name.replace("block_sparse_moe.experts.0", "mlp"),
            |name, (moe, dense)| name.replace(moe, dense),
        );
        let dense = a.iter().find(|dense| dense.name == name).expect("the same weights");
        parameter.var.set(dense.var.as_tensor())?;
    }
    let (run, mut log) = (Run::default(), RunLog::of_losses(15)?);
    let expected = tiny_gpt::train(&dense_model, &a, &corpus, &base, 1, None, &run, &mut log)?;
    let balancing = LoadBalancing { aux_loss_coef: 0., z_loss_coef: 0., bias_update_rate: 0. };
    let train_moe = |base: tiny_gpt::TrainConfig, corpus| {
        let config = TrainConfig { base, load_balancing: balancing };
        let shared = b.with_compute_dtype(DType::F32); // the same memory
        let mut state = MoeTrainState::new(shared, base.optimizer, 1)?;
        let mut log = RunLog::of_losses(15)?;
        train(&moe_model, &mut state, corpus, &config, None, &run, &mut log)?;
        state.outcome()
    };
    let metrics = train_moe(base, &corpus)?.best_eval;
    assert_close(metrics.loss, expected.loss, 1e-4);

    // Training lowers the probability of validation bytes that never occur in the training text, so
    // the first evaluation is the best.
    let unseen = ByteCorpus { validation: (128..228).collect(), ..corpus.clone() };
    let first = train_moe(base, &unseen)?.best_eval;
    let last = tiny_gpt::evaluate(&moe_model.for_inference(&b)?, &unseen.validation, 4, &CPU)?;
    assert!(last.loss > first.loss + 0.1, "{} {}", last.loss, first.loss);

    let diverging = tiny_gpt::TrainConfig { lr: 1e30, max_grad_norm: None, ..base };
    let error = train_moe(diverging, &unseen).expect_err("NaN").to_string();
    assert!(error.contains("try a smaller --lr"), "{error}");
    Ok(())
}

#[test]
fn measured_loads_count_all_tokens_in_each_layer() -> Result<()> {
    let config =
        MoeConfig::with_flops_of(&ModelConfig::byte_level(8, 2, 2, 16), RouterConfig::new(4, 2))?;
    let (model, _) = super::new_model(&config, DType::F32)?;
    let text: Vec<u32> = (0..101).map(|i| i * 7 % 256).collect();
    let loads = measure_loads(&model, &text, 3)?; // 12 windows of 8 tokens and one of 4
    assert_eq!(loads.iter().map(ExpertLoad::total).collect::<Vec<_>>(), [200, 200]);
    assert_ne!(loads[0], loads[1]);
    Ok(())
}

#[test]
fn the_load_curve_has_the_worst_layer_of_each_interval() {
    let (balanced, collapsed) = (ExpertLoad::new(&[0, 1], 2, 0), ExpertLoad::new(&[1, 1], 2, 1));
    assert_eq!(max_load_ratio(&[balanced.clone(), collapsed.clone()]), 2.);
    let mut load_monitor = LoadMonitor::default();
    for step in 0..23 {
        let second = if (10..20).contains(&step) { &collapsed } else { &balanced };
        load_monitor.update(&[balanced.clone(), second.clone()]);
    }
    assert_close(load_monitor.dropped_fraction(), 10. / 92., 1e-12);
    assert_eq!(load_monitor.curve().points(), [(10., 1.), (20., 2.), (23., 1.)]);
}
