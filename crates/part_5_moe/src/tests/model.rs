use candle_core::{DType, Result, Tensor};
use modern::config::Mlp;
use modern::sampler::{Sampler, SamplingStrategy};
use modern::{Cache, GenerateConfig, GradientCheckpointing, ModelConfig, generate};
use scaling::accumulation::{gradients_of_mean_loss, target_counts};
use tensor_core::ops::cross_entropy;
use tensor_core::testing::{assert_close, assert_gradients_flow};
use tensor_core::{Dropout, Parameters, Rng, backward};
use tiny_gpt::LanguageModel;

use super::{CPU, fresh, ids, routers, tiny};
use crate::auxiliary_losses::{load_balancing_loss, router_z_loss};
use crate::config::{
    DenseBranch, ExpertSelection, LoadBalancing, MoeConfig, RouterConfig, RouterTrainingConfig,
};
use crate::model::is_selection_bias;
use crate::training::total_loss;
use crate::{GptMoe, RouterOutput};

const BALANCING: LoadBalancing =
    LoadBalancing { aux_loss_coef: 0.5, z_loss_coef: 0.1, bias_update_rate: 0. };

fn variants() -> Result<Vec<MoeConfig>> {
    let mut all = routers().into_iter().map(tiny).collect::<Result<Vec<_>>>()?;
    let hybrid = MoeConfig { dense_branch: DenseBranch::Weighted { dense_weight: 0.4 }, ..all[1] };
    let mut biased = all[0];
    biased.router.expert_selection = ExpertSelection::Biased;
    all.extend([hybrid, biased]);
    Ok(all)
}

#[test]
fn every_parameter_learns_and_what_is_moved_by_hand_gets_no_gradient() -> Result<()> {
    for config in variants()?.into_iter().filter(|config| config.router.n_expert > 1) {
        let (_, mut parameters) = fresh(&config, DType::F32)?;
        parameters.freeze(is_selection_bias);
        let model = GptMoe::new(&config, parameters.root())?;
        let targets = ids(4, 30, 2)?.to_dtype(DType::I64)?;
        let (logits, routed) = model.forward(&ids(4, 30, 1)?)?;
        let loss = total_loss(&cross_entropy(&logits, &targets)?, &routed, &BALANCING)?;
        println!("{config:?}");
        assert_gradients_flow(&parameters, &backward(&loss)?)?;
    }
    Ok(())
}

/// The loss of a model in training and its gradients.
fn gradients(
    activations: GradientCheckpointing,
    strain: RouterTrainingConfig,
    balancing: &LoadBalancing,
) -> Result<Vec<Tensor>> {
    let config = tiny(RouterConfig::new(4, 2))?;
    let (_, mut parameters) = fresh(&config, DType::F64)?;
    let mut model = GptMoe::new_for_training(&config, parameters.root(), strain)?;
    model.gpt = model.gpt.for_training(Dropout::disabled(), activations);
    let (logits, routed) = model.forward(&ids(2, 9, 1)?)?;
    let loss = cross_entropy(&logits, &ids(2, 9, 2)?.to_dtype(DType::I64)?)?;
    let grads = backward(&total_loss(&loss, &routed, balancing)?)?;
    let grads =
        parameters.iter().map(|p| grads.get(p.var.as_tensor()).expect("a gradient").clone());
    Ok([loss.detach()].into_iter().chain(grads).collect())
}

#[test]
fn blocks_that_are_run_twice_give_the_same_gradients_auxiliary_losses_too() -> Result<()> {
    let strain = RouterTrainingConfig { jitter: 0.2, capacity_factor: Some(0.9) };
    for strain in [RouterTrainingConfig::default(), strain] {
        let kept = gradients(GradientCheckpointing::Off, strain, &BALANCING)?;
        let again = gradients(GradientCheckpointing::On, strain, &BALANCING)?;
        for (kept, again) in kept.iter().zip(&again) {
            assert_close(again, kept, 1e-10)?;
        }
    }
    // That the comparison sees the auxiliary losses at all, below the routers too.
    let none = LoadBalancing { aux_loss_coef: 0., z_loss_coef: 0., bias_update_rate: 0. };
    let (with, without) = (
        gradients(GradientCheckpointing::Off, RouterTrainingConfig::default(), &BALANCING)?,
        gradients(GradientCheckpointing::Off, RouterTrainingConfig::default(), &none)?,
    );
    let apart = |i: usize| (&with[i] - &without[i])?.abs()?.max_all()?.to_scalar::<f64>();
    assert!(apart(1)? > 1e-3, "the embedding is below all routers");
    Ok(())
}

#[test]
fn the_total_loss_is_the_tasks_and_the_weighted_means_over_the_layers() -> Result<()> {
    let (model, _) = fresh(&tiny(RouterConfig::new(4, 2))?, DType::F64)?;
    let (_, routed) = model.forward(&ids(2, 9, 1)?)?;
    assert_eq!(routed.len(), 2);
    let mean = |of: fn(&RouterOutput) -> Result<Tensor>| -> Result<f64> {
        let each = routed.iter().map(|routed| of(routed)?.to_scalar::<f64>());
        Ok(each.sum::<Result<f64>>()? / 2.)
    };
    let balance =
        mean(|routed| load_balancing_loss(&routed.probabilities, &routed.selected_experts, None))?;
    let z = mean(|routed| router_z_loss(&routed.logits, None))?;
    let total = total_loss(&Tensor::new(3f64, &CPU)?, &routed, &BALANCING)?.to_scalar::<f64>()?;
    assert!((total - (3. + 0.5 * balance + 0.1 * z)).abs() < 1e-12, "{total} {balance} {z}");
    Ok(())
}

#[test]
fn auxiliary_losses_are_the_mean_over_layers_and_scale_with_the_batchs_share() -> anyhow::Result<()>
{
    let config = tiny(RouterConfig::new(4, 2))?;
    let (_, mut parameters) = fresh(&config, DType::F32)?;
    let model = GptMoe::new(&config, parameters.root())?;
    let batch =
        tiny_gpt::Batch { inputs: ids(2, 9, 1)?, targets: ids(2, 9, 2)?.to_dtype(DType::I64)? };
    let (logits, routed) = model.forward(&batch.inputs)?;
    let loss = cross_entropy(&logits, &batch.targets)?;
    let one = |layers: &[RouterOutput]| -> Result<f32> {
        (total_loss(&loss, layers, &BALANCING)? - &loss)?.to_scalar()
    };
    let mean = (one(&routed[..1])? + one(&routed[1..])?) / 2.;
    assert!((one(&routed)? - mean).abs() < 1e-5, "each layer's own, then the mean");

    // The same batch twice, accumulated, is the batch: no part of the loss counts double.
    let of = |batches: &[tiny_gpt::Batch]| {
        gradients_of_mean_loss(&parameters, batches, &target_counts(batches)?, 1., |batch| {
            let (logits, routed) = model.forward(&batch.inputs)?;
            Ok(total_loss(&cross_entropy(&logits, &batch.targets)?, &routed, &BALANCING)?)
        })
    };
    let (once, grads) = of(std::slice::from_ref(&batch))?;
    let (twice, accumulated) = of(&[batch.clone(), batch])?;
    assert!((once - twice).abs() < 1e-6);
    for parameter in parameters.iter() {
        let grad = |grads: &candle_core::backprop::GradStore| {
            grads.get(parameter.var.as_tensor()).expect("a gradient").clone()
        };
        assert_close(&grad(&accumulated), &grad(&grads), 1e-5)?;
    }
    Ok(())
}

#[test]
fn the_future_never_leaks_into_the_past() -> Result<()> {
    for config in variants()? {
        let (model, _) = fresh(&config, DType::F64)?;
        let past = |last: u32| {
            let ids = Tensor::new(&[[7u32, 8, 9, 3, 2, last]], &CPU)?;
            model.forward(&ids)?.0.narrow(1, 0, 5)
        };
        assert_close(&past(1)?, &past(5)?, 1e-12)?;
    }
    Ok(())
}

#[test]
fn read_piece_by_piece_the_logits_are_those_of_the_whole_text() -> Result<()> {
    for config in variants()? {
        let (model, parameters) = fresh(&config, DType::F64)?;
        let gpt = model.for_inference(&parameters)?.gpt;
        let text = ids(2, 12, 3)?;
        let whole = gpt.forward(&text)?;
        let mut cache = Cache::dynamic(config.model.n_layer);
        let mut pieces = Vec::new();
        for (start, len) in [(0, 5), (5, 1), (6, 1), (7, 5)] {
            let hidden = gpt.hidden_states_cached(&text.narrow(1, start, len)?, &mut cache)?;
            pieces.push(gpt.logits(&hidden)?);
        }
        assert_close(&Tensor::cat(&pieces, 1)?, &whole, 1e-10)?;
    }
    Ok(())
}

#[test]
fn part_3_writes_with_it() -> anyhow::Result<()> {
    let (model, parameters) = fresh(&tiny(RouterConfig::new(4, 2))?, DType::F32)?;
    let gpt = model.for_inference(&parameters)?.gpt;
    let config = GenerateConfig::new(&gpt, Sampler::new(SamplingStrategy::Greedy), 10, Vec::new());
    let prompts = [vec![1, 2, 3], vec![4]];
    let written = generate(&gpt, &prompts, &config, &mut Rng::new(0), |_, _| Ok(()))?;
    let mut text = prompts[0].clone();
    for &token in &written[0].tokens {
        let logits = gpt.forward(&Tensor::new(&text[..], &CPU)?.unsqueeze(0)?)?;
        let last: Vec<f32> = logits.narrow(1, text.len() - 1, 1)?.flatten_all()?.to_vec1()?;
        let best = (0..11u32).max_by(|&a, &b| last[a as usize].total_cmp(&last[b as usize]));
        assert_eq!(Some(token), best);
        text.push(token);
    }
    assert_eq!(written[0].tokens.len(), 10);
    Ok(())
}

#[test]
fn parameters_are_counted_before_there_are_any() -> Result<()> {
    for config in variants()? {
        let (_, parameters) = fresh(&config, DType::F32)?;
        assert_eq!(config.parameter_count(), parameters.n_parameters() as f64, "{config:?}");
    }
    Ok(())
}

#[test]
fn as_much_work_as_a_dense_model_but_for_the_router_and_a_rounding_up() -> Result<()> {
    let dense = ModelConfig { vocab_size: 11, ..ModelConfig::byte_level(64, 2, 4, 16) };
    assert_eq!(dense.mlp, Mlp::SwiGlu { width: 48 });
    let routers = (2 * 5 * 16) as f64;
    for (k, rounding) in [(1, 0), (2, 0), (5, 2)] {
        let config = MoeConfig::with_flops_of(&dense, RouterConfig::new(5, k))?;
        let more = config.active_parameter_count() - dense.parameter_count() - routers;
        assert_eq!(more, (2 * 3 * 16 * rounding) as f64, "{k}");
    }
    Ok(())
}

/// As part 3's last matrices, 1/√(2 layers) of the others.
#[test]
fn what_experts_add_begins_in_scale() -> Result<()> {
    let dense = ModelConfig::byte_level(8, 2, 2, 64);
    let config = MoeConfig::with_flops_of(&dense, RouterConfig::new(4, 1))?;
    let mut parameters = Parameters::seeded(0, DType::F64, &CPU);
    GptMoe::new(&config, parameters.root())?;
    let std = |name: &str| -> Result<f64> {
        let named = parameters.iter().filter(|parameter| parameter.name.contains(name));
        let all: Vec<Tensor> = named.map(|p| p.var.flatten_all()).collect::<Result<_>>()?;
        Ok(Tensor::cat(&all, 0)?.sqr()?.mean_all()?.to_scalar::<f64>()?.sqrt())
    };
    let ratio = std("w2.weight")? / std("w1.weight")?;
    assert!((ratio / 0.5 - 1.).abs() < 0.02, "{ratio}");
    Ok(())
}

#[test]
fn impossible_models_are_refused() -> Result<()> {
    let config = tiny(RouterConfig::new(4, 2))?;
    let error = |config: MoeConfig| {
        let mut parameters = Parameters::seeded(0, DType::F32, &CPU);
        GptMoe::new(&config, parameters.root()).expect_err("refused").to_string()
    };
    let with = |router| MoeConfig { router, ..config };
    assert!(error(with(RouterConfig::new(0, 1))).contains("the number of experts is 0"));
    assert!(error(with(RouterConfig::new(4, 5))).contains("5 experts per token of 4"));
    let share = MoeConfig { dense_branch: DenseBranch::Weighted { dense_weight: 1.5 }, ..config };
    assert!(error(share).contains("dense share of 1.5"));
    Ok(())
}
