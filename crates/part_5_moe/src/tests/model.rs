use candle_core::{DType, Module, Result, Tensor};
use model_io::ModelConfig;
use model_io::config::Mlp;
use modern::sampler::{Sampler, SamplingStrategy};
use modern::{Cache, GenerateConfig, GradientCheckpointing, generate};
use scaling::accumulation::{GradAccumulator, target_counts};
use tensor_core::ops::cross_entropy;
use tensor_core::testing::{assert_close, assert_gradients_flow};
use tensor_core::{Dropout, Parameters, Rng, backward};
use tiny_gpt::LanguageModel;

use super::{CPU, ids, new_model, routers, tiny_config};
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
    let mut all = routers().into_iter().map(tiny_config).collect::<Result<Vec<_>>>()?;
    let hybrid = MoeConfig { dense_branch: DenseBranch::Weighted { dense_weight: 0.4 }, ..all[1] };
    let mut biased = all[0];
    biased.router.expert_selection = ExpertSelection::Biased;
    all.extend([hybrid, biased]);
    Ok(all)
}

#[test]
fn every_parameter_gets_a_gradient_except_the_selection_bias() -> Result<()> {
    for config in variants()?.into_iter().filter(|config| config.router.n_expert > 1) {
        let (_, mut parameters) = new_model(&config, DType::F32)?;
        parameters.freeze(is_selection_bias);
        let model = GptMoe::new(&config, parameters.root())?;
        let targets = ids(4, 30, 2)?.to_dtype(DType::I64)?;
        let (logits, layers) = model.forward_with_routing(&ids(4, 30, 1)?)?;
        let loss = total_loss(&cross_entropy(&logits, &targets)?, &layers, &BALANCING)?;
        println!("{config:?}");
        assert_gradients_flow(&parameters, &backward(&loss)?)?;
    }
    Ok(())
}

/// Cross-entropy of a model in training, and the gradients of its total loss.
fn gradients(
    checkpointing: GradientCheckpointing,
    router_training: RouterTrainingConfig,
    load_balancing: &LoadBalancing,
) -> Result<Vec<Tensor>> {
    let config = tiny_config(RouterConfig::new(4, 2))?;
    let (_, mut parameters) = new_model(&config, DType::F64)?;
    let mut model = GptMoe::new_for_training(&config, parameters.root(), router_training)?;
    model.gpt = model.gpt.for_training(Dropout::disabled(), checkpointing);
    let (logits, layers) = model.forward_with_routing(&ids(2, 9, 1)?)?;
    let loss = cross_entropy(&logits, &ids(2, 9, 2)?.to_dtype(DType::I64)?)?;
    let grads = backward(&total_loss(&loss, &layers, load_balancing)?)?;
    let grads =
        parameters.iter().map(|p| grads.get(p.var.as_tensor()).expect("a gradient").clone());
    Ok([loss.detach()].into_iter().chain(grads).collect())
}

#[test]
fn gradient_checkpointing_gives_the_same_gradients() -> Result<()> {
    let jittered = RouterTrainingConfig { jitter: 0.2, capacity_factor: Some(0.9) };
    for router_training in [RouterTrainingConfig::default(), jittered] {
        let stored = gradients(GradientCheckpointing::Off, router_training, &BALANCING)?;
        let recomputed = gradients(GradientCheckpointing::On, router_training, &BALANCING)?;
        for (stored, recomputed) in stored.iter().zip(&recomputed) {
            assert_close(recomputed, stored, 1e-10);
        }
    }
    // The auxiliary losses must contribute to these gradients, also below the routers.
    let disabled = LoadBalancing { aux_loss_coef: 0., z_loss_coef: 0., bias_update_rate: 0. };
    let (with, without) = (
        gradients(GradientCheckpointing::Off, RouterTrainingConfig::default(), &BALANCING)?,
        gradients(GradientCheckpointing::Off, RouterTrainingConfig::default(), &disabled)?,
    );
    let difference = |i: usize| (&with[i] - &without[i])?.abs()?.max_all()?.to_scalar::<f64>();
    assert!(difference(1)? > 1e-3, "the embedding is below all routers");
    Ok(())
}

#[test]
fn the_total_loss_adds_the_weighted_means_over_the_layers() -> Result<()> {
    let (model, _) = new_model(&tiny_config(RouterConfig::new(4, 2))?, DType::F64)?;
    let (_, layers) = model.forward_with_routing(&ids(2, 9, 1)?)?;
    assert_eq!(layers.len(), 2);
    let mean = |loss: fn(&RouterOutput) -> Result<Tensor>| -> Result<f64> {
        let losses = layers.iter().map(|layer| loss(layer)?.to_scalar::<f64>());
        Ok(losses.sum::<Result<f64>>()? / 2.)
    };
    let aux_loss =
        mean(|layer| load_balancing_loss(&layer.probabilities, &layer.selected_experts, None))?;
    let z_loss = mean(|layer| router_z_loss(&layer.logits, None))?;
    let total = total_loss(&Tensor::new(3f64, &CPU)?, &layers, &BALANCING)?.to_scalar::<f64>()?;
    assert_close(total, 3. + 0.5 * aux_loss + 0.1 * z_loss, 1e-12);
    Ok(())
}

#[test]
fn gradient_accumulation_counts_the_auxiliary_losses_once() -> anyhow::Result<()> {
    let config = tiny_config(RouterConfig::new(4, 2))?;
    let (_, mut parameters) = new_model(&config, DType::F32)?;
    let model = GptMoe::new(&config, parameters.root())?;
    let batch =
        tiny_gpt::Batch { inputs: ids(2, 9, 1)?, targets: ids(2, 9, 2)?.to_dtype(DType::I64)? };
    let (logits, layers) = model.forward_with_routing(&batch.inputs)?;
    let loss = cross_entropy(&logits, &batch.targets)?;
    let added = |layers: &[RouterOutput]| -> Result<f32> {
        (total_loss(&loss, layers, &BALANCING)? - &loss)?.to_scalar()
    };
    let mean = (added(&layers[..1])? + added(&layers[1..])?) / 2.;
    assert_close(added(&layers)?, mean, 1e-5); // the mean over the layers

    // Accumulating the same batch twice gives the same mean loss and gradients as the batch alone.
    let accumulate = |batches: &[tiny_gpt::Batch]| {
        let counts = target_counts(batches)?;
        let (n_targets, mut accumulator) =
            (counts.iter().sum::<usize>(), GradAccumulator::default());
        for (batch, count) in batches.iter().zip(counts) {
            let (logits, layers) = model.forward_with_routing(&batch.inputs)?;
            let loss = total_loss(&cross_entropy(&logits, &batch.targets)?, &layers, &BALANCING)?;
            let share = count as f64 / n_targets as f64;
            accumulator.backward(&(loss * share)?, &[&parameters])?;
        }
        accumulator.finish()
    };
    let (once, grads) = accumulate(std::slice::from_ref(&batch))?;
    let (twice, accumulated) = accumulate(&[batch.clone(), batch])?;
    assert_close(once, twice, 1e-6);
    for parameter in parameters.iter() {
        let grad = |grads: &candle_core::backprop::GradStore| {
            grads.get(parameter.var.as_tensor()).expect("a gradient").clone()
        };
        assert_close(grad(&accumulated), grad(&grads), 1e-5);
    }
    Ok(())
}

#[test]
fn logits_do_not_depend_on_future_tokens() -> Result<()> {
    for config in variants()? {
        let (model, _) = new_model(&config, DType::F64)?;
        let past = |last: u32| {
            let ids = Tensor::new(&[[7u32, 8, 9, 3, 2, last]], &CPU)?;
            model.forward_with_routing(&ids)?.0.narrow(1, 0, 5)
        };
        assert_close(&past(1)?, &past(5)?, 1e-12);
    }
    Ok(())
}

#[test]
fn cached_logits_equal_uncached_logits() -> Result<()> {
    for config in variants()? {
        let (model, parameters) = new_model(&config, DType::F64)?;
        let gpt = model.for_inference(&parameters)?.gpt;
        let text = ids(2, 12, 3)?;
        let uncached = gpt.forward(&text)?;
        let mut cache = Cache::dynamic(config.model.n_layer);
        let mut cached = Vec::new();
        for (start, len) in [(0, 5), (5, 1), (6, 1), (7, 5)] {
            let hidden = gpt.hidden_states_cached(&text.narrow(1, start, len)?, &mut cache)?;
            cached.push(gpt.logits(&hidden)?);
        }
        assert_close(&Tensor::cat(&cached, 1)?, &uncached, 1e-10);
    }
    Ok(())
}

#[test]
fn part_3_generates_the_argmax_tokens_of_an_moe_model() -> anyhow::Result<()> {
    let (model, parameters) = new_model(&tiny_config(RouterConfig::new(4, 2))?, DType::F32)?;
    let gpt = model.for_inference(&parameters)?.gpt;
    let config = GenerateConfig::new(&gpt, Sampler::new(SamplingStrategy::Greedy), 10, Vec::new());
    let prompts = [vec![1, 2, 3], vec![4]];
    let completions = generate(&gpt, &prompts, &config, &mut Rng::new(0), |_, _| Ok(()))?;
    let mut text = prompts[0].clone();
    for &token in &completions[0].tokens {
        let logits = gpt.forward(&Tensor::new(&text[..], &CPU)?.unsqueeze(0)?)?;
        let last: Vec<f32> = logits.narrow(1, text.len() - 1, 1)?.flatten_all()?.to_vec1()?;
        let best = (0..11u32).max_by(|&a, &b| last[a as usize].total_cmp(&last[b as usize]));
        assert_eq!(Some(token), best);
        text.push(token);
    }
    assert_eq!(completions[0].tokens.len(), 10);
    Ok(())
}

#[test]
fn the_parameter_count_matches_the_created_parameters() -> Result<()> {
    for config in variants()? {
        let (_, parameters) = new_model(&config, DType::F32)?;
        assert_eq!(config.parameter_count(), parameters.n_parameters() as f64, "{config:?}");
    }
    Ok(())
}

#[test]
fn active_parameters_equal_the_dense_models_up_to_the_router() -> Result<()> {
    let dense = ModelConfig { vocab_size: 11, ..ModelConfig::byte_level(64, 2, 4, 16) };
    assert_eq!(dense.mlp, Mlp::SwiGlu { width: 48 });
    let routers = (2 * 5 * 16) as f64;
    for (k, rounding) in [(1, 0), (2, 0), (5, 2)] {
        let config = MoeConfig::with_flops_of(&dense, RouterConfig::new(5, k))?;
        let difference = config.active_parameter_count() - dense.parameter_count() - routers;
        assert_eq!(difference, (2 * 3 * 16 * rounding) as f64, "{k}");
    }
    Ok(())
}

/// Their standard deviation is 1/√(2 n_layer) of the others', as in part 3.
#[test]
fn output_matrices_of_experts_have_the_scaled_initialization() -> Result<()> {
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
    assert_close(ratio / 0.5, 1., 0.02);
    Ok(())
}

#[test]
fn invalid_sizes_are_refused() -> Result<()> {
    let config = tiny_config(RouterConfig::new(4, 2))?;
    let error = |config: MoeConfig| {
        let mut parameters = Parameters::seeded(0, DType::F32, &CPU);
        GptMoe::new(&config, parameters.root()).expect_err("refused").to_string()
    };
    let with = |router| MoeConfig { router, ..config };
    assert!(
        error(with(RouterConfig::new(0, 1))).contains("the number of experts must be at least 1")
    );
    assert!(error(with(RouterConfig::new(4, 5))).contains("5 experts per token of 4"));
    let weight = MoeConfig { dense_branch: DenseBranch::Weighted { dense_weight: 1.5 }, ..config };
    assert!(error(weight).contains("dense branch weight 1.5"));
    Ok(())
}
