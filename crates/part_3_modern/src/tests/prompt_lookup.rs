use std::num::NonZeroUsize;

use anyhow::{Result, ensure};
use candle_core::{DType, Module, Tensor};
use model_io::{ModelConfig, SlidingWindow};
use tensor_core::Rng;
use tensor_core::testing::assert_close;

use super::generation::{RANDOM, inference_model};
use super::{CPU, error, tiny, variants};
use crate::prompt_lookup::{max_proposed_tokens, propose};
use crate::sampler::{Sampler, SamplingStrategy};
use crate::{
    CacheKind, Completion, GenerateConfig, GenerationState, GptModern, PromptTooLong, generate,
};

/// Settings with a full cache and without stop tokens.
fn config_for(model: &GptModern, strategy: SamplingStrategy, n: usize) -> GenerateConfig {
    let config = GenerateConfig::new(model, Sampler::new(strategy), n, Vec::new());
    GenerateConfig { cache_kind: CacheKind::Full, ..config }
}

fn with_lookup(config: &GenerateConfig, num_tokens: usize) -> GenerateConfig {
    let prompt_lookup_num_tokens = NonZeroUsize::new(num_tokens);
    GenerateConfig { prompt_lookup_num_tokens, ..config.clone() }
}

fn new_state(model: &GptModern, config: &GenerateConfig, prompt: &[u32]) -> GenerationState {
    GenerationState::new(config.cache_kind.new_cache(model), prompt.to_vec())
}

/// Continues the text of `state`. Returns the completion, and the tokens as they were streamed.
fn complete(
    model: &GptModern,
    state: &mut GenerationState,
    config: &GenerateConfig,
    seed: u64,
) -> Result<(Completion, Vec<u32>)> {
    let mut streamed = Vec::new();
    let mut completions = state.generate(model, config, &mut [Rng::new(seed)], |_, token| {
        streamed.push(token);
        Ok(())
    })?;
    Ok((completions.remove(0), streamed))
}

/// From `PromptLookupCandidateGenerator` of transformers 5.24 with `max_matching_ngram_size=3` and
/// `num_output_tokens=K`.
#[test]
fn proposals_are_those_of_transformers() {
    let cases: [(&[u32], usize, &[u32]); 15] = [
        (&[1, 2, 3, 4, 1, 2, 3], 10, &[4, 1, 2, 3]),
        (&[1, 2, 3, 4, 1, 2, 3], 2, &[4, 1]),
        (&[5, 2, 3, 9, 1, 2, 3, 7, 2, 3], 3, &[9, 1, 2]),
        (&[1, 2, 3, 9, 2, 3, 8, 1, 2, 3], 2, &[9, 2]),
        (&[7, 7], 4, &[7]),
        (&[7, 7, 7], 4, &[7]),
        (&[7, 7, 7, 7, 7, 7], 4, &[7, 7, 7]),
        (&[4, 1, 5, 1, 6, 1], 3, &[5, 1, 6]),
        (&[1, 2, 3], 5, &[]),
        (&[1], 5, &[]),
        (&[9, 1, 9], 1, &[1]),
        (&[1, 2, 1, 2, 1, 2, 1], 10, &[2, 1, 2, 1]),
        (&[3, 4, 5, 6, 0, 4, 5, 6, 7, 3, 4, 5, 6], 3, &[0, 4, 5]),
        (&[8, 1, 2, 3, 5, 1, 2, 3, 6, 1, 2, 3], 2, &[5, 1]),
        (&[9, 3, 4, 1, 2, 3, 4], 2, &[1, 2]),
    ];
    for (text, num_tokens, expected) in cases {
        assert_eq!(propose(text, num_tokens), expected, "{text:?}");
    }
    assert!(propose(&[], 3).is_empty());
}

/// With the same random numbers, whatever ends the text and wherever in a run of accepted tokens
/// that is. Afterwards, the state can be continued.
#[test]
fn the_text_is_that_of_ordinary_decoding() -> Result<()> {
    let model = inference_model(&tiny())?; // a context of 64, which ends the second completion
    let (mut n_tokens, mut n_accepted) = (0, 0);
    for (strategy, repetition_penalty) in [
        (SamplingStrategy::Greedy, 1.),
        (SamplingStrategy::Greedy, 1.3),
        (RANDOM, 1.),
        (RANDOM, 1.3),
    ] {
        for (max_new_tokens, min_new_tokens, stop_tokens) in
            [(30, 0, vec![]), (30, 0, vec![3, 8]), (9, 5, vec![1, 3, 8]), (1, 0, vec![])]
        {
            let config = GenerateConfig {
                sampler: Sampler { strategy, repetition_penalty },
                min_new_tokens,
                stop_tokens,
                ..config_for(&model, strategy, max_new_tokens)
            };
            for seed in 0..2 {
                let mut plain = new_state(&model, &config, &[1, 5, 9, 2, 1, 5]);
                let mut states = [1, 4, 20].map(|num_tokens| {
                    let config = with_lookup(&config, num_tokens);
                    (new_state(&model, &config, &[1, 5, 9, 2, 1, 5]), config)
                });
                for more in [&[][..], &[6u32, 6]] {
                    plain.token_rows[0].extend(more);
                    let (expected, expected_stream) = complete(&model, &mut plain, &config, seed)?;
                    assert_eq!(expected.n_accepted, 0);
                    for (state, config) in &mut states {
                        state.token_rows[0].extend(more);
                        let (actual, stream) = complete(&model, state, config, seed)?;
                        assert_eq!(
                            (&actual.tokens, actual.finish_reason, &stream),
                            (&expected.tokens, expected.finish_reason, &expected_stream),
                            "{config:?}, seed {seed}"
                        );
                        for (a, b) in actual.log_probs.iter().zip(&expected.log_probs) {
                            assert!((a - b).abs() < 1e-5, "{a} {b}");
                        }
                        assert_eq!(actual.log_probs.len(), expected.log_probs.len());
                        assert_eq!(state.token_rows, plain.token_rows);
                        assert_eq!(state.cache.position(), plain.cache.position());
                        n_tokens += actual.tokens.len();
                        n_accepted += actual.n_accepted;
                    }
                }
            }
        }
    }
    assert!(n_accepted > 0 && n_accepted < n_tokens, "{n_accepted} of {n_tokens}");
    Ok(())
}

/// Among them models with a window, read through a full cache, and Phi-3, whose frequencies change
/// after 16 tokens.
#[test]
fn every_variant_writes_the_text_of_ordinary_decoding() -> Result<()> {
    for (name, config) in variants() {
        let model = inference_model(&config)?;
        let config = config_for(&model, RANDOM, 40);
        let prompt = [1, 5, 1, 5, 1, 5];
        let cache_kind = CacheKind::of(&model.config().attention);
        let ordinary = GenerateConfig { cache_kind, ..config.clone() };
        for seed in 0..3 {
            let mut state = new_state(&model, &ordinary, &prompt);
            let (expected, _) = complete(&model, &mut state, &ordinary, seed)?;
            let config = with_lookup(&config, 5);
            let mut state = new_state(&model, &config, &prompt);
            let (actual, _) = complete(&model, &mut state, &config, seed)?;
            assert_eq!(actual.tokens, expected.tokens, "{name}, seed {seed}");
        }
    }
    Ok(())
}

/// In a world of one token every proposal is accepted. After the prefill the text has 3 tokens, of
/// which 1 can be proposed, and a pass gives 2; of 5 tokens 2 can be, which gives 3; of 8 tokens 3
/// are (K), which gives 4; of 12 tokens 1 is, and the limit of 12 new tokens is reached.
#[test]
fn passes_are_counted_as_by_hand() -> Result<()> {
    let model = inference_model(&ModelConfig { vocab_size: 1, ..tiny() })?;
    let config = with_lookup(&config_for(&model, RANDOM, 12), 3);
    let completion =
        generate(&model, &[vec![0, 0]], &config, &mut Rng::new(1), |_, _| Ok(()))?.remove(0);
    assert_eq!((completion.tokens.len(), completion.n_accepted), (12, 1 + 2 + 3 + 1));
    assert_eq!(completion.n_passes(), 5);
    Ok(())
}

/// Phi-3's frequencies are others for texts of more than 16 tokens, in all positions. A pass with
/// proposals beyond them would read the text before them with the frequencies of the longer text:
/// the next tokens would be sampled from another distribution than without proposals, even if all
/// proposals are rejected and the text stays short. In a world of one token, with K = 5, texts of
/// 3, 5 and 8 tokens get 1, 2 and 5 proposals, one of 14 only 2, one of 17 again 5, and the last
/// token none.
#[test]
fn proposals_stay_within_the_length_at_which_frequencies_change() -> Result<()> {
    let phi3 = variants().into_iter().find(|(name, _)| *name == "phi3");
    let config = ModelConfig { vocab_size: 1, ..phi3.expect("the variant phi3").1 };
    let proposed = |len| max_proposed_tokens(&config, len);
    assert_eq!([3, 14, 15, 16].map(proposed), [13, 2, 1, 0]);
    let context_len = config.context_len;
    assert_eq!([17, context_len].map(proposed), [context_len - 17, 0]);

    let model = inference_model(&config)?;
    let config = with_lookup(&config_for(&model, RANDOM, 22), 5);
    let completion =
        generate(&model, &[vec![0, 0]], &config, &mut Rng::new(1), |_, _| Ok(()))?.remove(0);
    assert_eq!((completion.tokens.len(), completion.n_accepted), (22, 1 + 2 + 5 + 2 + 5));
    Ok(())
}

/// p = (1/2, 1/3, 1/6) and the certain proposal 1: accepted with probability 1/3, else replaced by
/// 0 or 2 with the probabilities 3/4 and 1/4 of the remainder.
#[test]
fn the_samplers_draws_have_the_probabilities_of_speculative_decoding() {
    let p: [f64; 3] = [1. / 2., 1. / 3., 1. / 6.];
    let speculative = |x: usize| {
        let q: [f64; 3] = [0, 1, 2].map(|y| if y == x { 1. } else { 0. });
        let remainder = [0, 1, 2].map(|y: usize| f64::max(0., p[y] - q[y]));
        let rejected = 1. - [0, 1, 2].map(|y: usize| f64::min(p[y], q[y])).iter().sum::<f64>();
        let total: f64 = remainder.iter().sum();
        (rejected, remainder.map(|weight| weight / total))
    };
    let logits = p.map(|p: f64| p.ln() as f32);
    let sampler = Sampler::new(SamplingStrategy::new(1., None, None, None));
    let (n, mut counts, mut rng) = (40_000u32, [0f64; 3], Rng::new(4));
    for _ in 0..n {
        counts[sampler.sample_token(&logits, &[], &mut rng).token as usize] += 1.;
    }
    let (rejected, replacement) = speculative(1);
    assert_close(rejected, 2. / 3., 1e-12);
    assert_close(replacement, [0.75, 0., 0.25], 1e-12);
    for (x, count) in counts.into_iter().enumerate() {
        let (rejected, replacement) = speculative(x);
        let n_rejected = f64::from(n) - count;
        // Four standard errors of a frequency of 20,000 draws are at most 0.0142.
        assert_close(n_rejected / f64::from(n), rejected, 0.0142);
        for y in (0..3).filter(|&y| y != x) {
            assert_close(counts[y] / n_rejected, replacement[y], 0.0142);
        }
    }
}

/// Probability of `tokens` after `prompt`, each with the history before it.
fn probability(
    model: &GptModern,
    sampler: &Sampler,
    prompt: &[u32],
    tokens: &[u32],
) -> Result<f64> {
    let text = [prompt, tokens].concat();
    let logits = model.forward(&Tensor::new(&text[..], &CPU)?.unsqueeze(0)?)?.squeeze(0)?;
    let logits = logits.to_dtype(DType::F32)?.to_vec2::<f32>()?; // (T, V)
    let mut product = 1.;
    for (i, token) in tokens.iter().enumerate() {
        let end = prompt.len() + i;
        let occurred = [0, 1, 2].map(|token| text[..end].contains(&token));
        let allowed = sampler.probabilities(&logits[end - 1], &occurred);
        product *= allowed.iter().find(|(other, _)| other == token).map_or(0., |(_, p)| *p);
    }
    Ok(product)
}

#[test]
fn the_texts_of_a_three_token_world_have_their_exact_probabilities() -> Result<()> {
    let model = inference_model(&ModelConfig { vocab_size: 3, ..tiny() })?;
    let strategy = SamplingStrategy::new(1.5, None, Some(0.98), Some(0.02));
    // Token 2 is penalized only once it occurs.
    let (sampler, prompt) = (Sampler { strategy, repetition_penalty: 1.2 }, [0, 1, 1, 0, 1]);
    let config = GenerateConfig { sampler, ..config_for(&model, strategy, 4) };
    let (config, mut rng) = (with_lookup(&config, 3), Rng::new(2));
    let (n, mut counts, mut n_accepted) = (4000usize, [0f64; 81], 0);
    for _ in 0..n {
        let completions = generate(&model, &[prompt.to_vec()], &config, &mut rng, |_, _| Ok(()))?;
        let index = completions[0].tokens.iter().fold(0u32, |index, &token| 3 * index + token);
        counts[index as usize] += 1.;
        n_accepted += completions[0].n_accepted;
    }
    assert!(n_accepted > n / 10, "{n_accepted}");
    let (mut total, mut chi_squared, mut rare) = (0f64, 0f64, [0f64; 2]);
    for (index, count) in counts.into_iter().enumerate() {
        let tokens = [27, 9, 3, 1].map(|place| (index / place % 3) as u32);
        let p = probability(&model, &sampler, &prompt, &tokens)?;
        total += p;
        let expected = p * n as f64;
        match expected < 5. {
            true => rare = [rare[0] + count, rare[1] + expected],
            false => chi_squared += f64::powi(count - expected, 2) / expected,
        }
    }
    assert_close(total, 1., 1e-5);
    chi_squared += f64::powi(rare[0] - rare[1], 2) / f64::max(rare[1], 1.);
    // The 99.9 % quantile with 80 degrees of freedom.
    assert!(chi_squared < 124.8, "{chi_squared}");
    Ok(())
}

#[test]
fn after_a_callback_error_the_cache_has_the_tokens_of_the_text() -> Result<()> {
    let model = inference_model(&tiny())?;
    let (prompt, greedy) = ([1, 5, 9, 2, 1, 5], SamplingStrategy::Greedy);
    let ordinary = config_for(&model, greedy, 40);
    let (expected, _) = complete(&model, &mut new_state(&model, &ordinary, &prompt), &ordinary, 0)?;
    let config = with_lookup(&config_for(&model, greedy, 20), 8);
    for n in 1..=20 {
        let mut state = new_state(&model, &config, &prompt);
        let mut n_calls = 0;
        let result = state.generate(&model, &config, &mut [Rng::new(0)], |_, _| {
            n_calls += 1;
            ensure!(n_calls < n, "broken pipe");
            Ok(())
        });
        assert_eq!(error(result), "broken pipe");
        assert_eq!(state.token_rows[0][prompt.len()..], expected.tokens[..n]);
        assert_eq!(state.cache.position(), prompt.len() + n - 1);
        let (rest, _) = complete(&model, &mut state, &config, 0)?;
        assert_eq!(rest.tokens, expected.tokens[n..n + 20], "after {n} tokens");
    }
    Ok(())
}

#[test]
fn a_prompt_that_exceeds_the_context_is_refused_with_a_remedy_that_is_possible() -> Result<()> {
    let model = inference_model(&tiny())?; // a context of 64
    let config = config_for(&model, SamplingStrategy::Greedy, 3);
    let run = |config: &GenerateConfig| {
        error(generate(&model, &[vec![1; 65]], config, &mut Rng::new(0), |_, _| Ok(())))
    };
    let result = generate(&model, &[vec![1; 65]], &config, &mut Rng::new(0), |_, _| Ok(()));
    assert!(result.expect_err("a long prompt").is::<PromptTooLong>());
    let message = run(&config);
    assert!(message.ends_with("context is 64: shorten it, or use a sliding window"), "{message}");
    let message = run(&with_lookup(&config, 2));
    assert!(message.ends_with("a sliding window and no prompt lookup"), "{message}");
    Ok(())
}

/// Ordinary decoding goes on past the context if all layers have a window.
#[test]
fn with_prompt_lookup_the_text_is_the_same_up_to_the_context_length() -> Result<()> {
    let mut config = ModelConfig { context_len: 16, ..tiny() };
    config.attention.window = Some(SlidingWindow { size: 4, sinks: 0 }.into());
    let model = inference_model(&config)?;
    let sampler = Sampler::new(SamplingStrategy::Greedy);
    let ordinary = GenerateConfig::new(&model, sampler, 30, Vec::new());
    let lookup =
        with_lookup(&GenerateConfig { cache_kind: CacheKind::Full, ..ordinary.clone() }, 3);
    let run = |config: &GenerateConfig| -> Result<Vec<u32>> {
        let rng = &mut Rng::new(0);
        Ok(generate(&model, &[vec![1, 5, 1, 5]], config, rng, |_, _| Ok(()))?.remove(0).tokens)
    };
    let (expected, actual) = (run(&ordinary)?, run(&lookup)?);
    assert_eq!((expected.len(), actual.len()), (30, 13));
    assert_eq!(actual, expected[..13]);
    Ok(())
}

#[test]
fn prompt_lookup_refuses_batches_and_rolling_caches() -> Result<()> {
    let model = inference_model(&tiny())?;
    let config = with_lookup(&config_for(&model, SamplingStrategy::Greedy, 3), 2);
    let run = |prompts: &[Vec<u32>], config: &GenerateConfig| {
        error(generate(&model, prompts, config, &mut Rng::new(0), |_, _| Ok(())))
    };
    let message = run(&[vec![1], vec![2, 3]], &config);
    assert!(message.contains("one text at a time, not a batch of 2"), "{message}");
    let window = CacheKind::SlidingWindow(SlidingWindow { size: 4, sinks: 1 });
    let message = run(&[vec![1]], &GenerateConfig { cache_kind: window, ..config });
    assert!(message.contains("use a full cache"), "{message}");
    Ok(())
}
