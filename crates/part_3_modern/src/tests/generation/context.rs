//! Generation up to the context, and beyond it.

use anyhow::Result;
use candle_core::{DType, Tensor};
use model_io::config::{PositionEncoding, RopeParameters, RopeScaling};
use model_io::{ModelConfig, SlidingWindow};
use tensor_core::Rng;
use tensor_core::testing::assert_close;

use super::{RANDOM, config_for, greedy_without_cache, inference_model, run};
use crate::sampler::SamplingStrategy;
use crate::tests::{CPU, tiny};
use crate::{Cache, CacheKind, Completion, FinishReason, GenerateConfig, GenerationState};

#[test]
fn generation_ends_at_the_context_unless_the_window_slides() -> Result<()> {
    let model = inference_model(&tiny())?; // a context of 64
    let prompts = [vec![1; 60]];
    let full = run(&model, &prompts, &config_for(&model, RANDOM, 100))?.remove(0);
    // Four tokens fill the context; the fifth is sampled but never processed.
    assert_eq!((full.tokens.len(), full.finish_reason), (5, FinishReason::ContextFull));
    let cache_kind = CacheKind::SlidingWindow(SlidingWindow { size: 8, sinks: 1 });
    let config = GenerateConfig { cache_kind, ..config_for(&model, RANDOM, 100) };
    let rolling = run(&model, &prompts, &config)?.remove(0);
    assert_eq!((rolling.tokens.len(), rolling.finish_reason), (100, FinishReason::Length));
    Ok(())
}

#[test]
fn a_short_row_continues_after_a_longer_one_fills_the_context() -> Result<()> {
    for position in [tiny().attention.position, PositionEncoding::Learned { offset: 0 }] {
        let mut config = ModelConfig { context_len: 20, ..tiny() };
        config.attention.position = position;
        let model = inference_model(&config)?;
        let long = |len: u32| (0..len).map(|i| i % 9).collect();
        let prompts = [vec![3], long(17), vec![5, 6, 7, 8], long(16)];
        // Each row fills the context, plus one token that is sampled but not processed.
        for (max_new_tokens, lens) in [(40, [20, 4, 17, 5]), (8, [8, 4, 8, 5])] {
            let config = config_for(&model, RANDOM, max_new_tokens);
            let mut rng = Rng::new(5);
            for ((prompt, row), len) in
                prompts.iter().zip(run(&model, &prompts, &config)?).zip(lens)
            {
                let finish_reason = match len == max_new_tokens {
                    true => FinishReason::Length,
                    false => FinishReason::ContextFull,
                };
                assert_eq!(
                    (row.tokens.len(), row.log_probs.len(), row.finish_reason),
                    (len, len, finish_reason)
                );
                let mut state =
                    GenerationState::new(CacheKind::Full.new_cache(&model), prompt.clone());
                let alone = state.generate(&model, &config, &mut [rng.fork()], |_, _| Ok(()))?;
                assert_eq!(alone[0].tokens, row.tokens);
            }
        }
    }
    Ok(())
}

#[test]
fn the_sinks_of_a_models_window_are_the_first_tokens_of_each_row() -> Result<()> {
    let mut config = tiny();
    config.attention.window = Some(SlidingWindow { size: 4, sinks: 2 }.into());
    let model = inference_model(&config)?;
    let prompts = [vec![1, 2, 3, 4, 5, 6, 7], vec![8, 9, 10]];
    let config = GenerateConfig {
        cache_kind: CacheKind::Full,
        ..config_for(&model, SamplingStrategy::Greedy, 12)
    };
    for (prompt, row) in prompts.iter().zip(run(&model, &prompts, &config)?) {
        assert_eq!(run(&model, std::slice::from_ref(prompt), &config)?[0].tokens, row.tokens);
    }
    Ok(())
}

#[test]
fn a_text_that_outgrows_the_original_context_of_longrope_is_read_again() -> Result<()> {
    let variants = model_io::testing::variants();
    let (_, phi3) = variants.into_iter().find(|(name, _)| *name == "phi3").expect("phi3");
    assert_eq!(phi3.attention.position.frequency_change(), Some(16));
    let model = inference_model(&phi3)?;
    for prompt_len in [10, 16, 17, 30] {
        let prompt: Vec<u32> = (0..prompt_len).map(|i| i % 9).collect();
        let expected = greedy_without_cache(&model, &prompt, 12)?;
        let config = config_for(&model, SamplingStrategy::Greedy, 12);
        let config = GenerateConfig { prefill_chunk: 4, ..config };
        let completion = run(&model, &[prompt], &config)?.remove(0);
        assert_eq!(completion.tokens, expected, "{prompt_len} tokens");
    }
    // A cache of the short frequencies is not used for a longer text.
    let mut cache = Cache::dynamic(2);
    let ids = Tensor::zeros((1, 12), DType::U32, &CPU)?;
    model.hidden_states_cached(&ids, &mut cache)?;
    let error = model.hidden_states_cached(&ids, &mut cache).expect_err("24 tokens").to_string();
    assert!(error.contains("frequencies change after 16 tokens"), "{error}");
    Ok(())
}

#[test]
fn a_shorter_text_after_one_beyond_the_original_context_of_longrope_is_read_again() -> Result<()> {
    let variants = model_io::testing::variants();
    let (_, phi3) = variants.into_iter().find(|(name, _)| *name == "phi3").expect("phi3");
    let model = inference_model(&phi3)?; // an original context of 16
    let config = config_for(&model, RANDOM, 3);
    let complete = |state: &mut GenerationState| -> Result<Completion> {
        Ok(state.generate(&model, &config, &mut [Rng::new(0)], |_, _| Ok(()))?.remove(0))
    };
    let long: Vec<u32> = (0..20).map(|i| i * 5 % 11).collect();
    let short = [&long[..11], &[9]].concat();
    let mut state = GenerationState::new(config.cache_kind.new_cache(&model), long);
    complete(&mut state)?;
    state.replace_keeping_prefix(short.clone())?;
    let mut other = GenerationState::new(config.cache_kind.new_cache(&model), short);
    let (actual, expected) = (complete(&mut state)?, complete(&mut other)?);
    assert_eq!(actual.tokens, expected.tokens);
    assert_close(&actual.log_probs, &expected.log_probs, 1e-6);
    Ok(())
}

#[test]
fn limited_positions_limit_generation_with_a_rolling_cache() -> Result<()> {
    let dynamic = RopeScaling::Dynamic { factor: 2., original_context_len: 12 };
    let rope = RopeParameters { scaling: Some(dynamic), ..RopeParameters::new(100.) };
    let dynamic = PositionEncoding::Rope(rope);
    for position in [PositionEncoding::Learned { offset: 0 }, dynamic] {
        let mut config = ModelConfig { context_len: 12, ..tiny() };
        config.attention.position = position;
        let model = inference_model(&config)?;
        let cache_kind = CacheKind::SlidingWindow(SlidingWindow { size: 4, sinks: 0 });
        let config =
            GenerateConfig { cache_kind, ..config_for(&model, SamplingStrategy::Greedy, 40) };
        let completion = run(&model, &[vec![1, 2]], &config)?.remove(0);
        assert_eq!(
            (completion.tokens.len(), completion.finish_reason),
            (11, FinishReason::ContextFull)
        );
    }
    Ok(())
}
