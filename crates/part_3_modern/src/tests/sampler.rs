use proptest::prelude::*;
use tensor_core::Rng;
use tensor_core::testing::assert_close;

use crate::sampler::{Sampler, SamplingStrategy};

const ALL: SamplingStrategy =
    SamplingStrategy::Random { temperature: 1., top_k: None, top_p: None, min_p: None };

/// Probabilities by the definition of the filters, token by token.
fn by_definition(logits: &[f32], strategy: SamplingStrategy) -> Vec<f64> {
    let SamplingStrategy::Random { temperature, top_k, top_p, min_p } = strategy else {
        unreachable!()
    };
    let exp: Vec<f64> = logits.iter().map(|&x| (f64::from(x) / temperature).exp()).collect();
    let total: f64 = exp.iter().sum();
    let mut p: Vec<f64> = exp.iter().map(|x| x / total).collect();
    if let Some(k) = top_k {
        for i in 0..p.len() {
            if (0..p.len()).filter(|&j| exp[j] > exp[i]).count() >= k {
                p[i] = 0.;
            }
        }
    }
    let total: f64 = p.iter().sum();
    p.iter_mut().for_each(|x| *x /= total);
    if let Some(top_p) = top_p {
        let before = p.clone();
        for i in 0..p.len() {
            // Dropped if more likely tokens (ties: lower IDs) already have probability top_p.
            let ahead = |j: &usize| before[*j] > before[i] || (before[*j] == before[i] && *j < i);
            if (0..p.len()).filter(ahead).map(|j| before[j]).sum::<f64>() >= top_p {
                p[i] = 0.;
            }
        }
    }
    let max = p.iter().copied().fold(0., f64::max);
    p.iter_mut().filter(|x| **x < min_p.unwrap_or(0.) * max).for_each(|x| *x = 0.);
    let total: f64 = p.iter().sum();
    p.iter().map(|x| x / total).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn probabilities_equal_the_definition_of_the_filters(
        logits in prop::collection::vec(-6f32..6., 1..40),
        temperature in 0.2f64..3.,
        top_k in prop::option::of(1usize..50),
        top_p in prop::option::of(0.01f64..1.),
        min_p in prop::option::of(0f64..1.),
    ) {
        let strategy = SamplingStrategy::Random { temperature, top_k, top_p, min_p };
        let expected = by_definition(&logits, strategy);
        let mut actual = vec![0.; logits.len()];
        for (token, p) in Sampler::new(strategy).probabilities(&logits, &[]) {
            actual[token as usize] = p;
        }
        for (a, b) in actual.iter().zip(&expected) {
            prop_assert!((a - b).abs() < 1e-9, "{actual:?} is not {expected:?}");
        }
    }

    #[test]
    fn a_sampled_token_passes_the_filters_with_its_log_prob(
        logits in prop::collection::vec(-6f32..6., 1..40),
        top_k in prop::option::of(1usize..9),
        seed in 0u64..1000,
    ) {
        let strategy =
            SamplingStrategy::Random { temperature: 0.7, top_k, top_p: Some(0.9), min_p: None };
        let sampler = Sampler::new(strategy);
        let sampled = sampler.sample_token(&logits, &[], &mut Rng::new(seed));
        let allowed = sampler.probabilities(&logits, &[]);
        let entry = allowed.iter().find(|(token, _)| *token == sampled.token);
        let (_, p) = entry.expect("the sampled token passes the filters");
        prop_assert!((p.ln() - f64::from(sampled.log_prob)).abs() < 1e-6);
    }
}

#[test]
fn sampling_frequencies_match_the_probabilities() {
    let (logits, mut rng) = ([1f32, 0., 2., -1.], Rng::new(3));
    let mut counts = [0f64; 4];
    for _ in 0..20_000 {
        counts[Sampler::new(ALL).sample_token(&logits, &[], &mut rng).token as usize] +=
            1. / 20_000.;
    }
    for (token, p) in Sampler::new(ALL).probabilities(&logits, &[]) {
        // Four standard errors of a frequency are at most 4 · √(0.25 / 20000) = 0.014.
        assert_close(counts[token as usize], p, 0.014);
    }
}

#[test]
fn greedy_takes_the_first_most_likely_token_with_log_prob_0() {
    let sampled = Sampler::new(SamplingStrategy::Greedy).sample_token(
        &[1., 3., 3., 2.],
        &[],
        &mut Rng::new(0),
    );
    assert_eq!((sampled.token, sampled.log_prob), (1, 0.));
}

#[test]
fn the_repetition_penalty_lowers_logits_of_either_sign() {
    // Same as transformers' RepetitionPenaltyLogitsProcessor: 3 / 2 = 1.5 and −1 · 2 = −2.
    let sampler = Sampler { strategy: SamplingStrategy::Greedy, repetition_penalty: 2. };
    let seen = [true, false, false];
    assert_eq!(sampler.sample_token(&[3., 2., 1.], &seen, &mut Rng::new(0)).token, 1);
    assert_eq!(sampler.sample_token(&[-1., -1.5, -3.], &seen, &mut Rng::new(0)).token, 1);
    assert_eq!(sampler.sample_token(&[3.9, 1.9, 1.], &seen, &mut Rng::new(0)).token, 0);
}

#[test]
fn tokens_with_logit_minus_infinity_are_never_sampled() {
    let logits = [f32::NEG_INFINITY, 0., f32::NEG_INFINITY];
    for seed in 0..100 {
        assert_eq!(Sampler::new(ALL).sample_token(&logits, &[], &mut Rng::new(seed)).token, 1);
    }
}

#[test]
fn min_p_1_keeps_every_token_tied_with_the_most_likely() {
    let strategy =
        SamplingStrategy::Random { temperature: 0.7, top_k: None, top_p: None, min_p: Some(1.) };
    let allowed = Sampler::new(strategy).probabilities(&[1., 3., 3., 2.], &[]);
    assert_eq!(allowed, [(1, 0.5), (2, 0.5)]);
}

#[test]
fn log_probs_include_the_repetition_penalty() {
    let sampler = Sampler { repetition_penalty: 2., ..Sampler::new(ALL) };
    let (logits, seen) = ([1f32, 1., -1.], [false, true, true]);
    let mut rng = Rng::new(3);
    for _ in 0..20 {
        let sampled = sampler.sample_token(&logits, &seen, &mut rng);
        let (_, p) = sampler.probabilities(&logits, &seen)[sampled.token as usize];
        assert_close(p.ln(), f64::from(sampled.log_prob), 1e-6);
    }
}

#[test]
fn a_tiny_temperature_acts_like_greedy_decoding() {
    let strategy = SamplingStrategy::Random {
        temperature: 1e-308,
        top_k: None,
        top_p: None,
        min_p: Some(0.5),
    };
    let sampled = Sampler::new(strategy).sample_token(&[1., 3., 2.], &[], &mut Rng::new(1));
    assert_eq!((sampled.token, sampled.log_prob), (1, 0.));
}
