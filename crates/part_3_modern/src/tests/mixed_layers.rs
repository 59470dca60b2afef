//! Models with a window in some layers only: masks, caches, generation and the memory of a cache.

use std::cell::Cell;

use anyhow::Result;
use candle_core::{DType, IndexOp, Module, Tensor};
use model_io::ModelConfig;
use model_io::config::{LayerType, LayerWindow, PositionEncoding};
use tensor_core::Rng;
use tensor_core::testing::assert_close;

use super::{fresh, ids, variants};
use crate::generation::generate_uncached;
use crate::sampler::{Sampler, SamplingStrategy};
use crate::sliding_window::{LayerMasks, can_attend};
use crate::{
    AttentionContext, Cache, CacheKind, FinishReason, GenerateConfig, GenerationState, GptModern,
    generate, generate_samples,
};

const RANDOM: SamplingStrategy =
    SamplingStrategy::Random { temperature: 0.9, top_k: None, top_p: Some(0.95), min_p: None };

fn layer_window(config: &mut ModelConfig) -> &mut LayerWindow {
    config.attention.window.as_mut().expect("a window")
}

/// True if some layers have full attention beside the window of others.
fn has_full_attention_layers(config: &ModelConfig) -> bool {
    config.attention.window.is_some_and(|window| window.full_attention_interval.is_some())
}

/// Variants with a window of 3 in the first of two layers.
fn mixed() -> Vec<(&'static str, ModelConfig)> {
    let variants = variants().into_iter();
    let mixed: Vec<_> = variants.filter(|(_, config)| has_full_attention_layers(config)).collect();
    assert_eq!(mixed.len(), 3);
    mixed
}

fn inference_model(config: &ModelConfig) -> Result<GptModern> {
    let (_, parameters) = fresh(config, DType::F64)?;
    Ok(GptModern::new(config, parameters.for_inference().root())?)
}

#[test]
fn only_the_layers_with_a_window_hide_the_tokens_before_it() -> Result<()> {
    for (name, config) in mixed() {
        let window = config.attention.sliding_window().expect("a window");
        let weights = inference_model(&config)?.attention_weights(&ids(1, 8, 4)?)?;
        for (layer, weights) in weights.iter().enumerate() {
            let is_sliding = config.attention.layer_type(layer) == LayerType::SlidingAttention;
            assert_eq!(is_sliding, layer == 0, "{name}");
            for (query, row) in weights.i((0, 0))?.to_vec2::<f64>()?.into_iter().enumerate() {
                let visible = |key: usize| match is_sliding {
                    true => can_attend(window, query, key),
                    false => key <= query,
                };
                let expected: Vec<bool> = (0..8).map(visible).collect();
                let found: Vec<bool> = row.iter().map(|weight| *weight > 0.).collect();
                assert_eq!(found, expected, "{name}, layer {layer}, query {query}");
            }
        }
    }
    Ok(())
}

/// Greedy and sampled texts, four times as long as the window, with the smallest cache.
#[test]
fn generation_with_a_cache_for_each_layer_equals_that_without_a_cache() -> Result<()> {
    for (name, config) in mixed() {
        let model = inference_model(&config)?;
        let prompt = vec![1, 5, 9, 2, 2, 7];
        for strategy in [SamplingStrategy::Greedy, RANDOM] {
            let sampler = Sampler::new(strategy);
            let settings = GenerateConfig::new(&model, sampler, 12, Vec::new());
            assert_eq!(settings.cache_kind, CacheKind::PerLayer);
            let expected = generate_uncached(&model, &prompt, 12, &sampler, &mut Rng::new(3))?;
            for prefill_chunk in [1, 4, 100] {
                let settings = GenerateConfig { prefill_chunk, ..settings.clone() };
                let cache = settings.cache_kind.new_cache(&model);
                let mut state = GenerationState::new(cache, prompt.clone());
                let rngs = &mut [Rng::new(3)];
                let found = state.generate(&model, &settings, rngs, |_, _| Ok(()))?.remove(0);
                assert_eq!(found.tokens, expected, "{name}, chunks of {prefill_chunk}");
            }
        }
    }
    Ok(())
}

/// A padded batch makes its masks anew for each token.
#[test]
fn a_model_whose_layers_have_the_same_mask_makes_it_once() -> Result<()> {
    for (name, config) in variants() {
        let n_made = Cell::new(0);
        let masks = LayerMasks::of(&config.attention).map(|mask| {
            n_made.set(n_made.get() + 1);
            Ok(mask)
        })?;
        let is_mixed = has_full_attention_layers(&config);
        assert_eq!(n_made.get(), if is_mixed { 2 } else { 1 }, "{name}");
        for layer in 0..config.n_layer {
            let layer_type = config.attention.layer_type(layer);
            let [found, expected] = [masks.get(layer_type), &config.attention.mask(layer_type)]
                .map(|mask| mask.to_tensor(9, 9, DType::F64, &super::CPU));
            let [found, expected] = [found?.flatten_all()?, expected?.flatten_all()?];
            let equal = found.to_vec1::<f64>()? == expected.to_vec1::<f64>()?;
            assert!(equal, "{name}, layer {layer}");
        }
    }
    Ok(())
}

#[test]
fn rows_of_a_batch_and_completions_of_a_prompt_do_not_depend_on_each_other() -> Result<()> {
    for (name, config) in mixed() {
        let model = inference_model(&config)?;
        let prompts = [vec![1, 2, 3, 4, 5, 6, 7], vec![8], vec![3, 3, 3]];
        let settings = GenerateConfig::new(&model, Sampler::new(RANDOM), 9, Vec::new());
        let mut rng = Rng::new(5);
        let all = generate_samples(&model, &prompts, 2, &settings, &mut rng, |_, _| Ok(()))?;
        let mut rng = Rng::new(5);
        for (row, together) in all.iter().enumerate() {
            let cache = CacheKind::PerLayer.new_cache(&model);
            let mut state = GenerationState::new(cache, prompts[row / 2].clone());
            let alone = state.generate(&model, &settings, &mut [rng.fork()], |_, _| Ok(()))?;
            assert_eq!(together.tokens, alone[0].tokens, "{name}, row {row}");
        }
    }
    Ok(())
}

#[test]
fn packed_texts_have_the_logits_that_they_have_alone() -> Result<()> {
    for (name, config) in mixed() {
        let model = inference_model(&config)?;
        let (first, second) = (ids(1, 5, 1)?, ids(1, 4, 2)?);
        let packed = Tensor::cat(&[&first, &second], 1)?;
        let segments = [[[1u32; 5].to_vec(), [2; 4].to_vec()].concat()];
        let context = AttentionContext::packed(&config.attention, &segments)?;
        let hidden = model.hidden_states_in_context(&packed, &context, None)?;
        let logits = model.logits(&hidden)?;
        println!("{name}");
        assert_close(&logits.narrow(1, 0, 5)?, &model.forward(&first)?, 1e-9);
        assert_close(&logits.narrow(1, 5, 4)?, &model.forward(&second)?, 1e-9);
        let shared = AttentionContext::shared_prefix(&config.attention, vec![2], &segments);
        let error = shared.expect_err("a window").to_string();
        assert!(error.contains("sliding window"), "{name}: {error}");
    }
    Ok(())
}

#[test]
fn only_the_layers_with_full_attention_keep_more_than_the_window() -> Result<()> {
    let (_, config) = mixed().remove(0);
    let model = inference_model(&config)?;
    let mut cache = Cache::per_layer(&config);
    let mut sizes = Vec::new();
    for i in 0..40 {
        model.hidden_states_cached(&ids(1, 40, 5)?.narrow(1, i, 1)?, &mut cache)?;
        sizes.push(cache.size_in_bytes());
    }
    // (keys and values) · 2 key heads · 4 channels · 8 bytes, of 3 tokens, and of 32 and then 64.
    let token = 2 * 2 * 4 * 8;
    assert_eq!((sizes[0], sizes[31], sizes[32]), (35 * token, 35 * token, 67 * token));
    assert!(cache.is_dynamic(), "a text longer than the context must be refused");
    cache.truncate(20);
    assert_eq!(cache.position(), 0, "the tokens before the window are gone");
    let again = model.hidden_states_cached(&ids(1, 9, 6)?, &mut cache)?;
    assert_close(&again, &model.hidden_states(&ids(1, 9, 6)?)?, 1e-9);
    assert!(Cache::per_layer(&config).with_padding(vec![0, 1]).is_err());
    Ok(())
}

#[test]
fn generation_ends_at_the_context_because_some_layers_keep_all_tokens() -> Result<()> {
    let (_, config) = mixed().remove(0);
    let model = inference_model(&ModelConfig { context_len: 12, ..config })?;
    let settings = GenerateConfig::new(&model, Sampler::new(RANDOM), 40, Vec::new());
    let rng = &mut Rng::new(1);
    let completion = generate(&model, &[vec![1, 2]], &settings, rng, |_, _| Ok(()))?.remove(0);
    assert_eq!(
        (completion.tokens.len(), completion.finish_reason),
        (11, FinishReason::ContextFull)
    );
    Ok(())
}

#[test]
fn caps_scales_and_local_frequencies_change_the_logits() -> Result<()> {
    let ids = ids(1, 9, 3)?;
    let with = |name: &str, change: fn(&mut ModelConfig)| -> Result<f64> {
        let (_, mut config) =
            variants().into_iter().find(|(known, _)| *known == name).expect("a variant");
        let before = inference_model(&config)?.forward(&ids)?;
        change(&mut config);
        let after = inference_model(&config)?.forward(&ids)?;
        Ok((before - after)?.abs()?.max_all()?.to_scalar()?)
    };
    for (name, difference) in [
        ("the cap of logits", with("gemma2", |c| c.logit_softcap = Some(0.01))?),
        ("that of attention", with("gemma2", |c| c.attention.logits.softcap = Some(0.01))?),
        ("the scale", with("gemma2", |c| c.attention.logits.query_pre_attn_scalar = None)?),
        ("the local base", with("gemma3_text", |c| layer_window(c).local_rope_base = None)?),
        ("the layer", with("gemma3_text", |c| layer_window(c).full_attention_interval = None)?),
    ] {
        assert!(difference > 1e-4, "{name}: {difference}");
    }
    let (_, config) = mixed().remove(1);
    let largest = inference_model(&config)?.forward(&ids)?.abs()?.max_all()?.to_scalar::<f64>()?;
    assert!(largest < config.logit_softcap.expect("a cap"), "{largest}");
    Ok(())
}

#[test]
fn layers_with_a_window_rotate_by_the_local_base_without_scaling() -> Result<()> {
    let (_, config) = mixed().remove(2); // Gemma 3
    let window = config.attention.window.expect("a window");
    let base = window.local_rope_base.expect("a base");
    // The input of the first layer does not depend on RoPE.
    let queries = |change: &dyn Fn(&mut ModelConfig)| -> Result<Tensor> {
        let mut config = config;
        change(&mut config);
        let [q, ..] = inference_model(&config)?.queries_keys_values(&ids(1, 9, 3)?)?.remove(0);
        Ok(q)
    };
    let sliding = queries(&|_| ())?;
    let of_local_base = queries(&|c| {
        layer_window(c).local_rope_base = None;
        c.attention.position = PositionEncoding::rope(base);
    })?;
    assert_close(&sliding, &of_local_base, 1e-12);
    let full = queries(&|c| layer_window(c).full_attention_interval = Some(1))?;
    let of_position = queries(&|c| layer_window(c).local_rope_base = None)?;
    assert_close(&full, &of_position, 1e-12);
    let difference = (sliding - full)?.abs()?.max_all()?.to_scalar::<f64>()?;
    assert!(difference > 1e-3, "{difference}");
    Ok(())
}

#[test]
fn attention_weights_are_capped_as_in_the_forward_pass() -> Result<()> {
    let (_, mut config) = mixed().remove(1); // Gemma 2
    config.attention.logits.softcap = Some(1e-6);
    for weights in inference_model(&config)?.attention_weights(&ids(1, 8, 4)?)? {
        for row in weights.i((0, 0))?.to_vec2::<f64>()? {
            let visible = || row.iter().copied().filter(|&weight| weight > 0.);
            let [least, most] = [visible().fold(1., f64::min), visible().fold(0., f64::max)];
            // Two logits differ by at most 2 c.
            assert!(most <= least * (1. + 3e-6), "{row:?}");
        }
    }
    Ok(())
}
