use anyhow::Result;
use candle_core::DType;
use tensor_core::testing::assert_close;
use tensor_core::{Parameters, Rng};

use super::{CPU, new_model, tiny_config};
use crate::{Gpt, Sampling, generate};

fn allowed_tokens(logits: &[f32], top_k: Option<usize>, top_p: Option<f64>) -> Vec<usize> {
    let p = Sampling::new(1., top_k, top_p).probabilities(logits);
    assert_close(p.iter().sum::<f64>(), 1., 1e-12);
    (0..p.len()).filter(|&i| p[i] > 0.).collect()
}

#[test]
fn top_k_keeps_the_k_best_tokens_and_ties_with_the_last() {
    let logits = [1., 2., 3., 4.];
    assert_eq!(allowed_tokens(&logits, Some(2), None), [2, 3]);
    assert_eq!(allowed_tokens(&logits, Some(9), None), [0, 1, 2, 3]);
    assert_eq!(allowed_tokens(&[1., 3., 3., 3.], Some(2), None), [1, 2, 3]);
}

#[test]
fn top_p_keeps_the_token_that_crosses_p() {
    // Probabilities .0321, .0871, .2369, .6439.
    let logits = [1., 2., 3., 4.];
    assert_eq!(allowed_tokens(&logits, None, Some(0.5)), [3]);
    assert_eq!(allowed_tokens(&logits, None, Some(0.7)), [2, 3]);
    assert_eq!(allowed_tokens(&logits, None, Some(0.9)), [1, 2, 3]);
    assert_eq!(allowed_tokens(&logits, None, Some(1.)), [0, 1, 2, 3]);
    assert_eq!(allowed_tokens(&logits, None, Some(1e-9)), [3]);
}

#[test]
fn top_p_applies_to_the_tokens_that_top_k_kept() {
    // Renormalized over tokens 2 and 3, token 3 has probability .731.
    assert_eq!(allowed_tokens(&[1., 2., 3., 4.], Some(2), Some(0.73)), [3]);
    assert_eq!(allowed_tokens(&[1., 2., 3., 4.], Some(2), Some(0.74)), [2, 3]);
}

#[test]
fn a_low_temperature_sharpens_and_zero_is_greedy() {
    let p = |t: f64| Sampling::new(t, None, None).probabilities(&[0., 1.])[1];
    assert_close(p(1.), 1. / (1. + (-1f64).exp()), 1e-12);
    assert_close(p(0.5), 1. / (1. + (-2f64).exp()), 1e-12);
    assert_eq!(p(0.), 1.);
    assert_eq!(Sampling::new(0., None, None), Sampling::Greedy);
    assert_eq!(
        Sampling::Greedy.sample_token(&[1., 5., 5.], &mut Rng::new(0)),
        1,
        "the first of equals"
    );
}

#[test]
fn sampled_frequencies_match_the_probabilities() {
    let sampling = Sampling::new(0.8, Some(3), Some(0.95));
    let logits = [0.3, -1., 1.2, 0.9, -5.];
    let p = sampling.probabilities(&logits);
    let (mut rng, mut counts, n) = (Rng::new(0), [0f64; 5], 20_000);
    for _ in 0..n {
        counts[sampling.sample_token(&logits, &mut rng) as usize] += 1.;
    }
    for (count, p) in counts.iter().zip(p) {
        let n = f64::from(n);
        assert!((count - n * p).abs() <= 4. * (n * p * (1. - p)).sqrt(), "{counts:?}");
    }
}

#[test]
fn top_k_keeps_exactly_k_of_fifty_thousand_tokens() {
    let logits: Vec<f32> = (0..50_257).map(|i| ((i * 7919) % 50_257) as f32).collect();
    let allowed = allowed_tokens(&logits, Some(40), None);
    assert_eq!(allowed.len(), 40);
    assert!(allowed.iter().all(|&i| logits[i] >= 50_217.));
}

#[test]
fn a_seed_fixes_the_sample_also_beyond_the_context_length() -> Result<()> {
    let (model, _) = new_model(0, DType::F32)?;
    let sample = |seed| {
        generate(&model, &[1, 2], 20, &Sampling::new(1., None, None), &mut Rng::new(seed), |_| {
            Ok(())
        })
    };
    assert_eq!(sample(5)?.len(), 20); // the context length is 8
    assert_eq!(sample(5)?, sample(5)?);
    assert_ne!(sample(5)?, sample(6)?);
    Ok(())
}

#[test]
fn on_token_gets_each_token_and_an_empty_prompt_is_an_error() -> Result<()> {
    let (model, _) = new_model(0, DType::F32)?;
    let mut streamed = Vec::new();
    let completion = generate(&model, &[1], 5, &Sampling::Greedy, &mut Rng::new(0), |token| {
        streamed.push(token);
        Ok(())
    })?;
    assert_eq!(completion, streamed);
    let mut calls = 0;
    let stopped = generate(&model, &[1], 5, &Sampling::Greedy, &mut Rng::new(0), |_| {
        calls += 1;
        anyhow::bail!("stop")
    });
    assert_eq!((stopped.unwrap_err().to_string(), calls), ("stop".into(), 1));
    let empty = generate(&model, &[], 5, &Sampling::Greedy, &mut Rng::new(0), |_| Ok(()));
    assert!(empty.unwrap_err().to_string().contains("the prompt is empty"));
    let out_of_vocabulary =
        generate(&model, &[256], 5, &Sampling::Greedy, &mut Rng::new(0), |_| Ok(()));
    assert!(out_of_vocabulary.is_err());
    Ok(())
}

#[test]
fn an_inference_copy_generates_without_dropout() -> Result<()> {
    let mut config = tiny_config();
    config.block.dropout = 0.5;
    let mut parameters = Parameters::seeded(0, DType::F32, &CPU);
    Gpt::new(&config, parameters.root())?;
    let inference = Gpt::new(&config, parameters.for_inference().root())?;
    let sample = || generate(&inference, &[1], 12, &Sampling::Greedy, &mut Rng::new(0), |_| Ok(()));
    assert_eq!(sample()?, sample()?);
    Ok(())
}
