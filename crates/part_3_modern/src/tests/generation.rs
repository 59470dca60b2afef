use anyhow::{Result, ensure};
use candle_core::{DType, Module, Tensor};
use model_io::config::{PositionEncoding, RopeScaling};
use model_io::{ModelConfig, SkipSpecialTokens, SlidingWindow, Tokenizer, TokenizerSpecialTokens};
use tensor_core::Rng;
use tensor_core::testing::assert_close;
use tiny_gpt::ByteTokenizer;

use super::{CPU, error, fresh, tiny};
use crate::generation::generate_uncached;
use crate::sampler::{Sampler, SamplingStrategy};
use crate::{
    Cache, CacheKind, Completion, FinishReason, GenerateConfig, GenerationState, GptModern,
    generate, generate_samples,
};

pub(super) const RANDOM: SamplingStrategy =
    SamplingStrategy::Random { temperature: 0.9, top_k: Some(8), top_p: Some(0.95), min_p: None };

pub(super) fn inference_model(config: &ModelConfig) -> Result<GptModern> {
    let (_, parameters) = fresh(config, DType::F64)?;
    Ok(GptModern::new(config, parameters.for_inference().root())?)
}

fn config_for(model: &GptModern, strategy: SamplingStrategy, n: usize) -> GenerateConfig {
    GenerateConfig::new(model, Sampler::new(strategy), n, Vec::new())
}

fn run(
    model: &GptModern,
    prompts: &[Vec<u32>],
    config: &GenerateConfig,
) -> Result<Vec<Completion>> {
    generate(model, prompts, config, &mut Rng::new(5), |_, _| Ok(()))
}

/// Greedy decoding without a cache: a forward pass over the whole text per token.
fn greedy_without_cache(model: &GptModern, prompt: &[u32], n: usize) -> Result<Vec<u32>> {
    generate_uncached(model, prompt, n, &Sampler::new(SamplingStrategy::Greedy), &mut Rng::new(0))
}

#[test]
fn a_vocabulary_of_one_token_scores_and_generates() -> Result<()> {
    let model = inference_model(&ModelConfig { vocab_size: 1, ..tiny() })?;
    for strategy in [SamplingStrategy::Greedy, RANDOM] {
        let completions = run(&model, &[vec![0, 0]], &config_for(&model, strategy, 3))?;
        assert_eq!(completions[0].tokens, [0, 0, 0]);
        assert_eq!(completions[0].log_probs, [0., 0., 0.], "the token is certain");
    }
    let scored = crate::perplexity::text_log_probs(&model, &[0, 0, 0], 1, |_| Ok(()))?;
    assert_eq!((scored.log_probs, scored.perplexity), (vec![0., 0.], 1.));
    Ok(())
}

#[test]
fn cached_generation_equals_uncached_generation() -> Result<()> {
    for window in
        [None, Some(SlidingWindow { size: 4, sinks: 0 }), Some(SlidingWindow { size: 3, sinks: 2 })]
    {
        let mut config = tiny();
        config.attention.window = window;
        let model = inference_model(&config)?;
        let prompt = vec![1, 5, 9, 2, 2, 7];
        let expected = greedy_without_cache(&model, &prompt, 30)?;
        for chunk in [1, 4, 100] {
            let config = GenerateConfig {
                prefill_chunk: chunk,
                ..config_for(&model, SamplingStrategy::Greedy, 30)
            };
            assert_eq!(run(&model, std::slice::from_ref(&prompt), &config)?[0].tokens, expected);
        }
    }
    Ok(())
}

#[test]
fn the_completion_of_a_row_does_not_depend_on_its_batch() -> Result<()> {
    for cache_kind in
        [CacheKind::Full, CacheKind::SlidingWindow(SlidingWindow { size: 4, sinks: 2 })]
    {
        let model = inference_model(&tiny())?;
        let prompts = [vec![1, 2, 3, 4, 5, 6, 7], vec![8], vec![3, 3, 3], vec![9]];
        let config = GenerateConfig { cache_kind, ..config_for(&model, RANDOM, 12) };
        let together = run(&model, &prompts, &config)?;
        assert_ne!(
            together[1].tokens,
            together[3].tokens[..],
            "each row has its own random generator"
        );
        let mut rng = Rng::new(5);
        for (prompt, expected) in prompts.into_iter().zip(together) {
            let mut state = GenerationState::new(config.cache_kind.new_cache(&model), prompt);
            let alone =
                state.generate(&model, &config, &mut [rng.fork()], |_, _| Ok(()))?.remove(0);
            assert_eq!(alone.tokens, expected.tokens);
        }
    }
    Ok(())
}

#[test]
fn shared_prefill_gives_the_completions_of_repeated_prompts() -> Result<()> {
    for cache_kind in
        [CacheKind::Full, CacheKind::SlidingWindow(SlidingWindow { size: 4, sinks: 0 })]
    {
        let model = inference_model(&tiny())?;
        let prompts = [vec![1, 2, 3, 4, 5, 6, 7], vec![8], vec![3; 60]];
        let config =
            GenerateConfig { cache_kind, prefill_chunk: 4, ..config_for(&model, RANDOM, 12) };
        let repeated: Vec<_> = prompts.iter().flat_map(|prompt| vec![prompt.clone(); 3]).collect();
        let apart = run(&model, &repeated, &config)?;
        let once = generate_samples(&model, &prompts, 3, &config, &mut Rng::new(5), |_, _| Ok(()))?;
        for (once, apart) in once.iter().zip(&apart) {
            assert_eq!((&once.tokens, once.finish_reason), (&apart.tokens, apart.finish_reason));
            for (a, b) in once.log_probs.iter().zip(&apart.log_probs) {
                assert_close(a, b, 1e-5);
            }
        }
        assert_ne!(once[0].tokens, once[1].tokens, "each row has its own random generator");
    }
    Ok(())
}

#[test]
fn log_probs_are_those_of_the_sampling_distribution() -> Result<()> {
    let model = inference_model(&tiny())?;
    let prompt = vec![4, 4, 1];
    let config = config_for(&model, RANDOM, 15);
    let Completion { tokens, log_probs, .. } =
        run(&model, std::slice::from_ref(&prompt), &config)?.remove(0);
    let full_text = [prompt.clone(), tokens.clone()].concat();
    let logits = model.forward(&Tensor::new(&full_text[..], &CPU)?.unsqueeze(0)?)?.squeeze(0)?;
    let logits = logits.to_dtype(DType::F32)?.to_vec2::<f32>()?;
    for (i, (&token, log_prob)) in tokens.iter().zip(log_probs).enumerate() {
        let allowed = config.sampler.probabilities(&logits[prompt.len() - 1 + i], &[]);
        let (_, p) = allowed.into_iter().find(|(t, _)| *t == token).expect("it was allowed");
        assert_close(p.ln(), f64::from(log_prob), 1e-4);
    }
    Ok(())
}

#[test]
fn no_row_stops_before_its_smallest_number_of_tokens() -> Result<()> {
    let model = inference_model(&tiny())?;
    let prompts = [vec![1, 2], vec![7]];
    // All tokens but three end a row, so that most rows would end at once.
    let config = GenerateConfig { stop_tokens: (3..11).collect(), ..config_for(&model, RANDOM, 9) };
    let lengths = |min_new_tokens| -> Result<Vec<usize>> {
        let config = GenerateConfig { min_new_tokens, ..config.clone() };
        let completions =
            generate_samples(&model, &prompts, 20, &config, &mut Rng::new(1), |_, _| Ok(()))?;
        for Completion { tokens, finish_reason, .. } in &completions {
            let stop = tokens.iter().position(|token| *token >= 3);
            assert!(stop.is_none_or(|stop| stop >= min_new_tokens && stop + 1 == tokens.len()));
            assert_eq!(stop.is_some(), *finish_reason == FinishReason::Stop);
        }
        Ok(completions.iter().map(|completion| completion.tokens.len()).collect())
    };
    assert!(lengths(0)?.contains(&1));
    let lengths_of_4 = lengths(4)?;
    assert!(lengths_of_4.iter().all(|len| *len >= 5) && lengths_of_4.contains(&5));
    assert!(lengths(9)?.iter().all(|len| *len == 9));
    Ok(())
}

#[test]
fn rows_that_have_ended_leave_the_batch_and_the_others_do_not_notice() -> Result<()> {
    let window = SlidingWindow { size: 4, sinks: 0 };
    let with_window = |window| {
        let mut config = tiny();
        config.attention.window = window;
        config
    };
    // Padded rows, and a rolling cache, whose rows have one length.
    let padded: Vec<Vec<u32>> = (0..16).map(|i| vec![1 + i % 5; 1 + i as usize % 3]).collect();
    let equal: Vec<Vec<u32>> = (0..16).map(|i| vec![i % 7, 2]).collect();
    for (config, prompts, repetition_penalty) in [
        (with_window(None), &padded, 1.),
        (with_window(None), &padded, 1.3),
        (with_window(Some(window)), &equal, 1.3),
    ] {
        let model = inference_model(&config)?;
        let sampler = Sampler { repetition_penalty, ..Sampler::new(RANDOM) };
        let cache_kind = config.attention.window.map_or(CacheKind::Full, CacheKind::SlidingWindow);
        let endless = GenerateConfig { sampler, cache_kind, ..config_for(&model, RANDOM, 20) };
        let stopping = GenerateConfig { stop_tokens: vec![3, 8], ..endless.clone() };
        let unstopped = run(&model, prompts, &endless)?;
        let stopped = run(&model, prompts, &stopping)?;
        for (unstopped, stopped) in unstopped.iter().zip(&stopped) {
            let stop = unstopped.tokens.iter().position(|token| [3, 8].contains(token));
            let end = stop.map_or(unstopped.tokens.len(), |stop| stop + 1);
            assert_eq!(stopped.tokens, unstopped.tokens[..end]);
            assert_eq!(stopped.finish_reason == FinishReason::Stop, stop.is_some());
            for (a, b) in stopped.log_probs.iter().zip(&unstopped.log_probs) {
                assert!((a - b).abs() < 1e-6, "{a} {b}");
            }
        }
        let mut state =
            GenerationState::left_padded(cache_kind.new_cache(&model), prompts.clone())?;
        let mut rngs: Vec<Rng> = (0..16).map(Rng::new).collect();
        let completions = state.generate(&model, &stopping, &mut rngs, |_, _| Ok(()))?;
        assert!(state.token_rows.len() < 8, "{} rows", state.token_rows.len());
        assert_eq!(completions.len(), 16);
    }
    Ok(())
}

#[test]
fn each_row_stops_at_its_own_stop_token() -> Result<()> {
    let model = inference_model(&tiny())?;
    let prompts = [vec![1, 2], vec![7], vec![3, 4, 5]];
    let unstopped = run(&model, &prompts, &config_for(&model, RANDOM, 40))?;
    let stop_tokens = vec![unstopped[0].tokens[3], unstopped[1].tokens[9]];
    let config =
        GenerateConfig { stop_tokens: stop_tokens.clone(), ..config_for(&model, RANDOM, 40) };
    let mut streamed = vec![Vec::new(); 3];
    let stopped = generate(&model, &prompts, &config, &mut Rng::new(5), |row, token| {
        streamed[row].push(token);
        Ok(())
    })?;
    for ((unstopped, stopped), streamed) in unstopped.iter().zip(&stopped).zip(streamed) {
        let end = unstopped.tokens.iter().position(|token| stop_tokens.contains(token));
        match end {
            Some(end) => {
                assert_eq!(stopped.finish_reason, FinishReason::Stop);
                assert_eq!(stopped.tokens, unstopped.tokens[..=end]);
                assert_eq!(streamed, unstopped.tokens[..end]);
            }
            None => assert_eq!(
                (stopped.finish_reason, &stopped.tokens),
                (FinishReason::Length, &unstopped.tokens)
            ),
        }
    }
    Ok(())
}

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
fn a_generation_state_can_be_continued() -> Result<()> {
    let model = inference_model(&tiny())?;
    let config = config_for(&model, SamplingStrategy::Greedy, 4);
    let mut state = GenerationState::new(Cache::dynamic(2), vec![3, 1]);
    let first =
        state.generate(&model, &config, &mut [Rng::new(0)], |_, _| Ok(()))?.remove(0).tokens;
    assert_eq!(state.token_rows[0], [vec![3, 1], first.clone()].concat());
    state.token_rows[0].extend([6, 6]);
    let second =
        state.generate(&model, &config, &mut [Rng::new(0)], |_, _| Ok(()))?.remove(0).tokens;
    let full_text = [vec![3, 1], first, vec![6, 6]].concat();
    assert_eq!(second, greedy_without_cache(&model, &full_text, 4)?);
    Ok(())
}

#[test]
fn a_callback_error_ends_the_generation() -> Result<()> {
    let model = inference_model(&tiny())?;
    let mut n_calls = 0;
    let mut state = GenerationState::left_padded(Cache::dynamic(2), vec![vec![1, 2], vec![3]])?;
    let config = config_for(&model, SamplingStrategy::Greedy, 30);
    let rngs = &mut [Rng::new(0), Rng::new(0)];
    let result = state.generate(&model, &config, rngs, |_, _| {
        n_calls += 1;
        ensure!(n_calls < 3, "broken pipe");
        Ok(())
    });
    assert_eq!(error(result), "broken pipe");
    assert_eq!(n_calls, 3);
    // The rows have equal length, so the state can be continued.
    assert!(state.token_rows.iter().all(|row| row.len() == 4), "{:?}", state.token_rows);
    Ok(())
}

#[test]
fn invalid_prompts_and_training_models_are_refused() -> Result<()> {
    let model = inference_model(&tiny())?;
    let refused = |model: &GptModern, prompt: Vec<u32>| {
        run(model, &[prompt], &config_for(model, RANDOM, 3)).expect_err("refused").to_string()
    };
    assert!(refused(&model, vec![]).contains("the prompt is empty"));
    assert!(refused(&model, vec![1, 11]).contains("token 11 is outside"));
    assert!(refused(&model, vec![1; 65]).contains("65 tokens, the model's context is 64"));
    let (in_training, _parameters) = fresh(&tiny(), DType::F32)?;
    assert!(refused(&in_training, vec![1]).contains("inference copy"));
    Ok(())
}

#[test]
fn logits_that_are_nan_are_an_error() -> Result<()> {
    let (_, parameters) = fresh(&tiny(), DType::F64)?;
    let norm = parameters.iter().find(|p| p.name == "model.norm.weight").expect("a last norm");
    norm.var.set(&(norm.var.as_tensor() * f64::NAN)?)?;
    let model = GptModern::new(&tiny(), parameters.for_inference().root())?;
    let config = config_for(&model, SamplingStrategy::Greedy, 3);
    let error = run(&model, &[vec![1, 2]], &config).expect_err("NaN logits").to_string();
    assert!(error.contains("logits are NaN"), "{error}");
    Ok(())
}

#[test]
fn an_empty_prompt_among_others_is_an_error() -> Result<()> {
    let model = inference_model(&tiny())?;
    let config = config_for(&model, SamplingStrategy::Greedy, 3);
    let error = run(&model, &[vec![1], vec![]], &config).expect_err("nothing to continue");
    assert!(error.to_string().contains("the prompt is empty"), "{error}");
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
    config.attention.window = Some(SlidingWindow { size: 4, sinks: 2 });
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
    let dynamic = PositionEncoding::Rope { base: 100., scaling: Some(dynamic) };
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

#[test]
fn a_long_run_of_invalid_bytes_is_emitted_before_the_end() -> Result<()> {
    let tokenizer =
        Tokenizer::from_json(ByteTokenizer.to_json(), TokenizerSpecialTokens::default())?;
    let mut stream = tokenizer.stream(SkipSpecialTokens::Yes, &[]);
    let ids = [0x80u32; 100];
    let pushed = ids.iter().map(|&id| stream.push(id)).collect::<Result<Vec<_>>>()?;
    assert!(pushed[60..70].iter().any(|text| !text.is_empty()), "{pushed:?}");
    let all = pushed.concat() + &stream.finish()?;
    assert_eq!(all, tokenizer.decode(&ids, SkipSpecialTokens::Yes)?);
    Ok(())
}
