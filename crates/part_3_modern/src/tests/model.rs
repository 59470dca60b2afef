use candle_core::{DType, Module, Result, Tensor};
use model_io::ModelConfig;
use model_io::config::{BlockLayout, Mlp, PositionEncoding};
use tensor_core::ops::cross_entropy;
use tensor_core::testing::{assert_close, assert_gradients_flow, assert_same_step_on_each_device};
use tensor_core::{AdamW, AdamWConfig, Parameters, backward};

use super::{CPU, fresh, ids, tiny, variants};
use crate::{AttentionContext, GptModern, GradientCheckpointing};

#[test]
fn every_parameter_of_every_variant_learns() -> Result<()> {
    for (name, config) in variants() {
        let (model, parameters) = fresh(&config, DType::F32)?;
        let targets = ids(2, 9, 2)?.to_dtype(DType::I64)?;
        let loss = cross_entropy(&model.forward(&ids(2, 9, 1)?)?, &targets)?;
        println!("{name}");
        let grads = backward(&loss)?;
        if name == "learned positions" {
            continue; // position embeddings beyond the text get no gradient
        }
        assert_gradients_flow(&parameters, &grads)?;
    }
    Ok(())
}

#[test]
fn a_step_of_every_variant_is_the_same_on_each_device() -> anyhow::Result<()> {
    for (name, config) in variants() {
        println!("{name}");
        assert_same_step_on_each_device(1e-4, |device| {
            let mut parameters = Parameters::seeded(1, DType::F32, device);
            let model = GptModern::new(&config, parameters.root())?;
            let logits = model.forward(&ids(2, 9, 1)?.to_device(device)?)?;
            let targets = ids(2, 9, 2)?.to_dtype(DType::I64)?.to_device(device)?;
            let optimizer = AdamWConfig { eps: 1., ..AdamWConfig::default() };
            let grads = backward(&cross_entropy(&logits, &targets)?)?;
            AdamW::new(&parameters, optimizer)?.step(&grads, 1.)?;
            Ok((logits, parameters))
        })?;
    }
    Ok(())
}

#[test]
fn initial_weights_have_the_configured_std() -> Result<()> {
    let config = ModelConfig { init_std: 0.06, ..ModelConfig::byte_level(64, 8, 4, 64) };
    let mut parameters = Parameters::seeded(1, DType::F32, &CPU);
    GptModern::new(&config, parameters.root())?;
    let residual_std = 0.06 / 4.; // 0.06 / √16: two residual outputs in each of 8 layers
    for (name, std) in [
        ("model.embed_tokens.weight", 0.06),
        ("model.layers.7.self_attn.q_proj.weight", 0.06),
        ("model.layers.7.mlp.gate_proj.weight", 0.06),
        ("model.layers.7.self_attn.o_proj.weight", residual_std),
        ("model.layers.7.mlp.down_proj.weight", residual_std),
    ] {
        let weight = parameters.iter().find(|parameter| parameter.name == name);
        let weight = weight.expect(name).var.as_tensor();
        let measured = f64::from(weight.sqr()?.mean_all()?.to_scalar::<f32>()?).sqrt();
        assert_close(measured / std, 1., 0.1);
    }
    Ok(())
}

#[test]
fn padding_beside_branches_does_not_count_towards_the_learned_positions() -> Result<()> {
    let mut config = tiny();
    (config.attention.position, config.context_len) = (PositionEncoding::Learned { offset: 0 }, 4);
    let (model, _) = fresh(&config, DType::F64)?;
    // Prefixes of two tokens, with three completions of two tokens and with one of a single token.
    let segments = [vec![1, 1, 2, 2, 3, 3, 4, 4], vec![1, 1, 2, 0, 0, 0, 0, 0]];
    let context = AttentionContext::shared_prefix(&config.attention, vec![2, 2], &segments)?;
    let ids = ids(2, 8, 1)?;
    let hidden = model.hidden_states_in_context(&ids, &context, None)?;
    let alone = model.hidden_states(&ids.narrow(0, 1, 1)?.narrow(1, 0, 3)?)?;
    assert_close(&hidden.narrow(0, 1, 1)?.narrow(1, 0, 3)?, &alone, 1e-12);
    Ok(())
}

#[test]
fn logits_never_depend_on_future_tokens() -> Result<()> {
    for (name, config) in variants() {
        let (model, _) = fresh(&config, DType::F64)?;
        let logits_before = |last: u32| {
            let ids = Tensor::new(&[[7u32, 8, 9, 3, 2, last]], &CPU)?;
            model.forward(&ids)?.narrow(1, 0, 5)
        };
        println!("{name}");
        assert_close(&logits_before(1)?, &logits_before(5)?, 1e-12);
    }
    Ok(())
}

#[test]
fn logits_depend_on_the_order_of_earlier_tokens() -> Result<()> {
    for (name, config) in variants() {
        let (model, _) = fresh(&config, DType::F64)?;
        let last =
            |ids: &[u32]| model.forward(&Tensor::new(ids, &CPU)?.unsqueeze(0)?)?.narrow(1, 2, 1);
        let difference =
            (last(&[1, 2, 3])? - last(&[2, 1, 3])?)?.abs()?.max_all()?.to_scalar::<f64>()?;
        assert!(difference > 1e-6, "{name}: the order of earlier tokens does not matter");
    }
    Ok(())
}

#[test]
fn a_swiglu_layer_has_as_many_parameters_as_a_gelu_mlp() -> Result<()> {
    let count = |mlp| -> Result<usize> {
        let config = ModelConfig { mlp, ..ModelConfig::byte_level(64, 2, 4, 192) };
        Ok(fresh(&config, DType::F32)?.1.n_parameters())
    };
    let gated = count(Mlp::SwiGlu { width: ModelConfig::swiglu_width(192) })?;
    let plain = count(Mlp::Gelu { width: 4 * 192, form: tensor_core::ops::Gelu::Tanh })?;
    let biases = 2 * (4 * 192 + 192);
    assert_eq!(gated, plain - biases);
    Ok(())
}

#[test]
fn the_parameter_count_equals_that_of_the_built_model() -> Result<()> {
    for (name, config) in variants() {
        let (_, parameters) = fresh(&config, DType::F32)?;
        assert_eq!(config.parameter_count(), parameters.n_parameters() as f64, "{name}");
    }
    let huge = ModelConfig::byte_level(1, usize::MAX, 1, usize::MAX);
    assert!(huge.parameter_count() > 1e50);
    Ok(())
}

#[test]
fn invalid_sizes_are_rejected_with_the_reason() {
    let error = |change: fn(&mut ModelConfig)| {
        let mut config = tiny();
        change(&mut config);
        let mut parameters = tensor_core::Parameters::seeded(0, DType::F32, &CPU);
        GptModern::new(&config, parameters.root()).expect_err("an error").to_string()
    };
    assert!(error(|c| c.attention.n_kv_head = 3).contains("4 query heads cannot share 3"));
    assert!(error(|c| c.attention.head_dim = 5).contains("head of 5"));
    assert!(error(|c| c.n_layer = 0).contains("layers is 0"));
}

/// Gradients of the loss of a model in training that computes in `dtype`.
fn gradients(
    config: &ModelConfig,
    dtype: DType,
    dropout: f64,
    gradient_checkpointing: GradientCheckpointing,
) -> Result<Vec<(String, Tensor)>> {
    let mut parameters = Parameters::seeded(1, DType::F32, &CPU);
    GptModern::new(config, parameters.root())?;
    let mut compute = parameters.with_compute_dtype(dtype);
    let dropout = compute.root().dropout(dropout);
    let model = GptModern::new(config, compute.root())?;
    let model = model.for_training(dropout, gradient_checkpointing);
    let logits = model.forward(&ids(2, 9, 1)?)?;
    assert_eq!((logits.dtype(), compute.compute_dtype()), (compute.dtype(), dtype));
    let targets = ids(2, 9, 2)?.to_dtype(DType::I64)?;
    let grads = backward(&cross_entropy(&logits.to_dtype(DType::F32)?, &targets)?)?;
    let grad = |p: &tensor_core::Parameter| {
        (p.name.clone(), grads.get(p.var.as_tensor()).expect("a gradient").clone())
    };
    Ok(parameters.iter().map(grad).collect())
}

#[test]
fn gradient_checkpointing_leaves_gradients_unchanged() -> Result<()> {
    for (name, config) in variants() {
        println!("{name}");
        // With dropout and in 16 bits, candle sums gradients in another order.
        for (dtype, dropout, tolerance) in [
            (DType::F32, 0., 0.),
            (DType::BF16, 0., 1e-2),
            (DType::F16, 0., 1e-3),
            (DType::F32, 0.2, 1e-6),
        ] {
            let expected = gradients(&config, dtype, dropout, GradientCheckpointing::Off)?;
            let recomputed = gradients(&config, dtype, dropout, GradientCheckpointing::On)?;
            for ((name, expected), (_, recomputed)) in expected.iter().zip(&recomputed) {
                println!("{name} {dtype:?}");
                assert_close(recomputed, expected, tolerance);
            }
        }
    }
    Ok(())
}

#[test]
fn gradients_in_16_bits_equal_those_in_f32_up_to_rounding() -> Result<()> {
    for (name, config) in variants() {
        let factor = match (&config.mlp, config.block) {
            (Mlp::Relu { .. }, _) => 4., // a rounding may switch a unit on or off
            (_, BlockLayout::SandwichNorm) => 2., // twice as many norms round
            _ => 1.,
        };
        for (dtype, tolerance) in [(DType::BF16, factor * 0.1), (DType::F16, factor * 0.01)] {
            let full = gradients(&config, DType::F32, 0., GradientCheckpointing::Off)?;
            for ((parameter, full), (_, half)) in
                full.iter().zip(gradients(&config, dtype, 0., GradientCheckpointing::Off)?)
            {
                let difference = (half - full)?.sqr()?.sum_all()?.to_scalar::<f32>()?.sqrt();
                let size = full.sqr()?.sum_all()?.to_scalar::<f32>()?.sqrt();
                assert!(
                    difference <= tolerance * (size + 1e-3),
                    "{name} {parameter}: {difference} of {size}"
                );
            }
        }
    }
    Ok(())
}

#[test]
fn dropout_is_active_in_training_only() -> Result<()> {
    let config = tiny();
    let mut parameters = Parameters::seeded(1, DType::F32, &CPU);
    let dropout = parameters.root().dropout(0.5);
    let model = GptModern::new(&config, parameters.root())?
        .for_training(dropout, GradientCheckpointing::Off);
    let inference_model = GptModern::new(&config, parameters.for_inference().root())?;
    let ids = ids(1, 5, 0)?;
    let difference = |a: &Tensor, b: &Tensor| (a - b)?.abs()?.max_all()?.to_scalar::<f32>();
    assert!(difference(&model.forward(&ids)?, &model.forward(&ids)?)? > 0.);
    assert_eq!(difference(&inference_model.forward(&ids)?, &inference_model.forward(&ids)?)?, 0.);
    Ok(())
}
