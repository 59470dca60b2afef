use anyhow::{Result, ensure};
use candle_core::{DType, Tensor};
use tensor_core::Rng;

use super::{CPU, error, fresh, tiny};
use crate::config::PositionEncoding;
use crate::sampler::{Sampler, SamplingStrategy};
use crate::uncached::generate_uncached;
use crate::{
    Cache, CacheKind, Completion, FinishReason, GenerateConfig, GenerationState, GptModern,
    ModelConfig, SlidingWindow, generate, generate_samples,
};

const RANDOM: SamplingStrategy =
    SamplingStrategy::Random { temperature: 0.9, top_k: Some(8), top_p: Some(0.95), min_p: None };

fn inference(config: &ModelConfig) -> Result<GptModern> {
    let (_, parameters) = fresh(config, DType::F64)?;
    Ok(GptModern::new(config, parameters.for_inference().root())?)
}

fn settings(model: &GptModern, choice: SamplingStrategy, n: usize) -> GenerateConfig {
    GenerateConfig::new(model, Sampler::new(choice), n, Vec::new())
}

fn run(
    model: &GptModern,
    prompts: &[Vec<u32>],
    config: &GenerateConfig,
) -> Result<Vec<Completion>> {
    generate(model, prompts, config, &mut Rng::new(5), |_, _| Ok(()))
}

/// The likeliest token each time, the whole text read anew.
fn greedy_without_cache(model: &GptModern, prompt: &[u32], n: usize) -> Result<Vec<u32>> {
    generate_uncached(model, prompt, n, &Sampler::new(SamplingStrategy::Greedy), &mut Rng::new(0))
}

#[test]
fn a_cache_writes_what_recomputing_writes() -> Result<()> {
    for window in
        [None, Some(SlidingWindow { size: 4, sinks: 0 }), Some(SlidingWindow { size: 3, sinks: 2 })]
    {
        let mut config = tiny();
        config.attention.window = window;
        let model = inference(&config)?;
        let prompt = vec![1, 5, 9, 2, 2, 7];
        let expected = greedy_without_cache(&model, &prompt, 30)?;
        for chunk in [1, 4, 100] {
            let config = GenerateConfig {
                prefill_chunk: chunk,
                ..settings(&model, SamplingStrategy::Greedy, 30)
            };
            assert_eq!(run(&model, std::slice::from_ref(&prompt), &config)?[0].tokens, expected);
        }
    }
    Ok(())
}

#[test]
fn a_row_writes_the_same_alone_and_among_others() -> Result<()> {
    for memory in [CacheKind::Full, CacheKind::SlidingWindow(SlidingWindow { size: 4, sinks: 2 })] {
        let model = inference(&tiny())?;
        let prompts = [vec![1, 2, 3, 4, 5, 6, 7], vec![8], vec![3, 3, 3], vec![9]];
        let config = GenerateConfig { cache_kind: memory, ..settings(&model, RANDOM, 12) };
        let together = run(&model, &prompts, &config)?;
        assert_ne!(together[1].tokens, together[3].tokens[..], "each row has a stream of its own");
        let mut rng = Rng::new(5);
        for (prompt, expected) in prompts.into_iter().zip(together) {
            let mut text = GenerationState::new(config.cache_kind.new_cache(&model), prompt);
            let alone = text.generate(&model, &config, &mut [rng.fork()], |_, _| Ok(()))?.remove(0);
            assert_eq!(alone.tokens, expected.tokens);
        }
    }
    Ok(())
}

#[test]
fn prompts_read_once_are_continued_as_if_each_had_been_read() -> Result<()> {
    for memory in [CacheKind::Full, CacheKind::SlidingWindow(SlidingWindow { size: 4, sinks: 0 })] {
        let model = inference(&tiny())?;
        let prompts = [vec![1, 2, 3, 4, 5, 6, 7], vec![8], vec![3; 60]];
        let config =
            GenerateConfig { cache_kind: memory, prefill_chunk: 4, ..settings(&model, RANDOM, 12) };
        let repeated: Vec<_> = prompts.iter().flat_map(|prompt| vec![prompt.clone(); 3]).collect();
        let apart = run(&model, &repeated, &config)?;
        let once = generate_samples(&model, &prompts, 3, &config, &mut Rng::new(5), |_, _| Ok(()))?;
        for (once, apart) in once.iter().zip(&apart) {
            assert_eq!((&once.tokens, once.finish_reason), (&apart.tokens, apart.finish_reason));
            for (a, b) in once.log_probs.iter().zip(&apart.log_probs) {
                assert!((a - b).abs() < 1e-5, "{a} {b}");
            }
        }
        assert_ne!(once[0].tokens, once[1].tokens, "each has a stream of its own");
    }
    Ok(())
}

#[test]
fn log_probs_are_those_of_the_distribution_drawn_from() -> Result<()> {
    let model = inference(&tiny())?;
    let prompt = vec![4, 4, 1];
    let config = settings(&model, RANDOM, 15);
    let Completion { tokens, log_probs, .. } =
        run(&model, std::slice::from_ref(&prompt), &config)?.remove(0);
    let whole = [prompt.clone(), tokens.clone()].concat();
    let logits = model.forward(&Tensor::new(&whole[..], &CPU)?.unsqueeze(0)?)?.squeeze(0)?;
    let logits = logits.to_dtype(DType::F32)?.to_vec2::<f32>()?;
    for (i, (&token, log_prob)) in tokens.iter().zip(log_probs).enumerate() {
        let passed = config.sampler.probabilities(&logits[prompt.len() - 1 + i], &[]);
        let (_, p) = passed.into_iter().find(|(t, _)| *t == token).expect("it passed");
        assert!(
            (p.ln() - f64::from(log_prob)).abs() < 1e-4,
            "token {i}: {} and {log_prob}",
            p.ln()
        );
    }
    Ok(())
}

#[test]
fn each_row_stops_for_itself() -> Result<()> {
    let model = inference(&tiny())?;
    let prompts = [vec![1, 2], vec![7], vec![3, 4, 5]];
    let free = run(&model, &prompts, &settings(&model, RANDOM, 40))?;
    let stop = vec![free[0].tokens[3], free[1].tokens[9]];
    let config = GenerateConfig { stop_tokens: stop.clone(), ..settings(&model, RANDOM, 40) };
    let mut seen = vec![Vec::new(); 3];
    let stopped = generate(&model, &prompts, &config, &mut Rng::new(5), |row, token| {
        seen[row].push(token);
        Ok(())
    })?;
    for ((free, stopped), seen) in free.iter().zip(&stopped).zip(seen) {
        let end = free.tokens.iter().position(|token| stop.contains(token));
        match end {
            Some(end) => {
                assert_eq!(stopped.finish_reason, FinishReason::Stop);
                assert_eq!(stopped.tokens, free.tokens[..=end]);
                assert_eq!(seen, free.tokens[..end]);
            }
            None => assert_eq!(
                (stopped.finish_reason, &stopped.tokens),
                (FinishReason::Length, &free.tokens)
            ),
        }
    }
    Ok(())
}

#[test]
fn writing_ends_at_the_context_unless_the_window_moves() -> Result<()> {
    let model = inference(&tiny())?; // a context of 64
    let prompts = [vec![1; 60]];
    let whole = run(&model, &prompts, &settings(&model, RANDOM, 100))?.remove(0);
    assert_eq!((whole.tokens.len(), whole.finish_reason), (5, FinishReason::ContextFull)); // the last of them was never read
    let memory = CacheKind::SlidingWindow(SlidingWindow { size: 8, sinks: 1 });
    let config = GenerateConfig { cache_kind: memory, ..settings(&model, RANDOM, 100) };
    let rolling = run(&model, &prompts, &config)?.remove(0);
    assert_eq!((rolling.tokens.len(), rolling.finish_reason), (100, FinishReason::Length));
    Ok(())
}

#[test]
fn a_text_goes_on_where_it_was_left() -> Result<()> {
    let model = inference(&tiny())?;
    let config = settings(&model, SamplingStrategy::Greedy, 4);
    let mut text = GenerationState::new(Cache::dynamic(2), vec![3, 1]);
    let first = text.generate(&model, &config, &mut [Rng::new(0)], |_, _| Ok(()))?.remove(0).tokens;
    assert_eq!(text.token_rows[0], [vec![3, 1], first.clone()].concat());
    text.token_rows[0].extend([6, 6]);
    let second =
        text.generate(&model, &config, &mut [Rng::new(0)], |_, _| Ok(()))?.remove(0).tokens;
    let whole = [vec![3, 1], first, vec![6, 6]].concat();
    assert_eq!(second, greedy_without_cache(&model, &whole, 4)?);
    Ok(())
}

#[test]
fn writing_ends_when_nobody_listens() -> Result<()> {
    let model = inference(&tiny())?;
    let (mut told, mut text) =
        (0, GenerationState::left_padded(Cache::dynamic(2), vec![vec![1, 2], vec![3]])?);
    let config = settings(&model, SamplingStrategy::Greedy, 30);
    let rngs = &mut [Rng::new(0), Rng::new(0)];
    let result = text.generate(&model, &config, rngs, |_, _| {
        told += 1;
        ensure!(told < 3, "nobody listens");
        Ok(())
    });
    assert_eq!(error(result), "nobody listens");
    assert_eq!(told, 3);
    assert!(text.token_rows.iter().all(|row| row.len() == 4), "{:?}", text.token_rows); // it can go on
    Ok(())
}

#[test]
fn what_cannot_be_continued_is_refused() -> Result<()> {
    let model = inference(&tiny())?;
    let refused = |model: &GptModern, prompt: Vec<u32>| {
        run(model, &[prompt], &settings(model, RANDOM, 3)).expect_err("refused").to_string()
    };
    assert!(refused(&model, vec![]).contains("the prompt is empty"));
    assert!(refused(&model, vec![1, 11]).contains("token 11 lies outside"));
    assert!(refused(&model, vec![1; 65]).contains("65 tokens, the model's context is 64"));
    let (in_training, _parameters) = fresh(&tiny(), DType::F32)?;
    assert!(refused(&in_training, vec![1]).contains("inference twin"));
    Ok(())
}

#[test]
fn scores_that_are_no_numbers_are_an_error() -> Result<()> {
    let (_, parameters) = fresh(&tiny(), DType::F64)?;
    let norm = parameters.iter().find(|p| p.name == "model.norm.weight").expect("a last norm");
    norm.var.set(&(norm.var.as_tensor() * f64::NAN)?)?;
    let model = GptModern::new(&tiny(), parameters.for_inference().root())?;
    let config = settings(&model, SamplingStrategy::Greedy, 3);
    let error = run(&model, &[vec![1, 2]], &config).expect_err("NaN is no score").to_string();
    assert!(error.contains("not numbers"), "{error}");
    Ok(())
}

#[test]
fn an_empty_prompt_among_others_is_an_error() -> Result<()> {
    let model = inference(&tiny())?;
    let config = settings(&model, SamplingStrategy::Greedy, 3);
    let error = run(&model, &[vec![1], vec![]], &config).expect_err("nothing to continue");
    assert!(error.to_string().contains("the prompt is empty"), "{error}");
    Ok(())
}

#[test]
fn a_short_row_goes_on_beyond_the_context_of_a_long_one() -> Result<()> {
    for position in [tiny().attention.position, PositionEncoding::Learned] {
        let mut config = ModelConfig { context_len: 20, ..tiny() };
        config.attention.position = position;
        let model = inference(&config)?;
        let long = |len: u32| (0..len).map(|i| i % 9).collect();
        let prompts = [vec![3], long(17), vec![5, 6, 7, 8], long(16)];
        // Up to the context, and one more that is not read.
        for (most, lens) in [(40, [20, 4, 17, 5]), (8, [8, 4, 8, 5])] {
            let config = settings(&model, RANDOM, most);
            let mut rng = Rng::new(5);
            for ((prompt, row), len) in
                prompts.iter().zip(run(&model, &prompts, &config)?).zip(lens)
            {
                let end =
                    if len == most { FinishReason::Length } else { FinishReason::ContextFull };
                assert_eq!(
                    (row.tokens.len(), row.log_probs.len(), row.finish_reason),
                    (len, len, end)
                );
                let mut text =
                    GenerationState::new(CacheKind::Full.new_cache(&model), prompt.clone());
                let alone = text.generate(&model, &config, &mut [rng.fork()], |_, _| Ok(()))?;
                assert_eq!(alone[0].tokens, row.tokens);
            }
        }
    }
    Ok(())
}

#[test]
fn sinks_of_a_models_own_window_are_the_first_tokens_of_each_row() -> Result<()> {
    let mut config = tiny();
    config.attention.window = Some(SlidingWindow { size: 4, sinks: 2 });
    let model = inference(&config)?;
    let prompts = [vec![1, 2, 3, 4, 5, 6, 7], vec![8, 9, 10]];
    let config = GenerateConfig {
        cache_kind: CacheKind::Full,
        ..settings(&model, SamplingStrategy::Greedy, 12)
    };
    for (prompt, row) in prompts.iter().zip(run(&model, &prompts, &config)?) {
        assert_eq!(run(&model, std::slice::from_ref(prompt), &config)?[0].tokens, row.tokens);
    }
    Ok(())
}

#[test]
fn a_rolling_cache_does_not_carry_learned_positions_beyond_the_last() -> Result<()> {
    let mut config = ModelConfig { context_len: 12, ..tiny() };
    config.attention.position = PositionEncoding::Learned;
    let model = inference(&config)?;
    let memory = CacheKind::SlidingWindow(SlidingWindow { size: 4, sinks: 0 });
    let config =
        GenerateConfig { cache_kind: memory, ..settings(&model, SamplingStrategy::Greedy, 40) };
    let written = run(&model, &[vec![1, 2]], &config)?.remove(0);
    assert_eq!((written.tokens.len(), written.finish_reason), (11, FinishReason::ContextFull));
    Ok(())
}
