use anyhow::Result;
use candle_core::DType;
use tensor_core::{Parameters, Rng};

use super::{CPU, fresh, tiny};
use crate::{Gpt, Sampling, generate};

fn kept(logits: &[f32], top_k: Option<usize>, top_p: Option<f64>) -> Vec<usize> {
    let p = Sampling::new(1., top_k, top_p).probabilities(logits);
    assert!((p.iter().sum::<f64>() - 1.).abs() < 1e-12);
    (0..p.len()).filter(|&i| p[i] > 0.).collect()
}

#[test]
fn top_k_keeps_the_best_and_all_that_tie_with_the_last() {
    let logits = [1., 2., 3., 4.];
    assert_eq!(kept(&logits, Some(2), None), [2, 3]);
    assert_eq!(kept(&logits, Some(9), None), [0, 1, 2, 3]);
    assert_eq!(kept(&[1., 3., 3., 3.], Some(2), None), [1, 2, 3]);
}

#[test]
fn top_p_keeps_the_token_that_crosses_p() {
    // Probabilities .0321, .0871, .2369, .6439.
    let logits = [1., 2., 3., 4.];
    assert_eq!(kept(&logits, None, Some(0.5)), [3]);
    assert_eq!(kept(&logits, None, Some(0.7)), [2, 3]);
    assert_eq!(kept(&logits, None, Some(0.9)), [1, 2, 3]);
    assert_eq!(kept(&logits, None, Some(1.)), [0, 1, 2, 3]);
    assert_eq!(kept(&logits, None, Some(1e-9)), [3]);
}

#[test]
fn top_p_counts_among_what_top_k_left() {
    // Of tokens 2 and 3 alone, 3 holds .731.
    assert_eq!(kept(&[1., 2., 3., 4.], Some(2), Some(0.73)), [3]);
    assert_eq!(kept(&[1., 2., 3., 4.], Some(2), Some(0.74)), [2, 3]);
}

#[test]
fn temperature_sharpens_and_zero_is_greedy() {
    let p = |t: f64| Sampling::new(t, None, None).probabilities(&[0., 1.])[1];
    assert!((p(1.) - 1. / (1. + (-1f64).exp())).abs() < 1e-12);
    assert!((p(0.5) - 1. / (1. + (-2f64).exp())).abs() < 1e-12);
    assert_eq!(p(0.), 1.);
    assert_eq!(Sampling::new(0., None, None), Sampling::Greedy);
    assert_eq!(
        Sampling::Greedy.sample_token(&[1., 5., 5.], &mut Rng::new(0)),
        1,
        "the first of equals"
    );
}

#[test]
fn tokens_are_drawn_as_often_as_their_probability_says() {
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
fn top_k_works_on_a_vocabulary_of_fifty_thousand() {
    let logits: Vec<f32> = (0..50_257).map(|i| ((i * 7919) % 50_257) as f32).collect();
    let kept = kept(&logits, Some(40), None);
    assert_eq!(kept.len(), 40);
    assert!(kept.iter().all(|&i| logits[i] >= 50_217.));
}

#[test]
fn the_same_seed_writes_the_same_text_past_the_block_size_too() -> Result<()> {
    let (model, _) = fresh(0, DType::F32)?;
    let write = |seed| {
        generate(&model, &[1, 2], 20, &Sampling::new(1., None, None), &mut Rng::new(seed), |_| {
            Ok(())
        })
    };
    assert_eq!(write(5)?.len(), 20); // the block holds 8
    assert_eq!(write(5)?, write(5)?);
    assert_ne!(write(5)?, write(6)?);
    Ok(())
}

#[test]
fn generation_shows_each_token_as_it_is_drawn_and_refuses_an_empty_prompt() -> Result<()> {
    let (model, _) = fresh(0, DType::F32)?;
    let mut seen = Vec::new();
    let text = generate(&model, &[1], 5, &Sampling::Greedy, &mut Rng::new(0), |token| {
        seen.push(token);
        Ok(())
    })?;
    assert_eq!(text, seen);
    let mut told = 0;
    let gone = generate(&model, &[1], 5, &Sampling::Greedy, &mut Rng::new(0), |_| {
        told += 1;
        anyhow::bail!("nobody listens")
    });
    assert_eq!((gone.unwrap_err().to_string(), told), ("nobody listens".into(), 1));
    let empty = generate(&model, &[], 5, &Sampling::Greedy, &mut Rng::new(0), |_| Ok(()));
    assert!(empty.unwrap_err().to_string().contains("the prompt is empty"));
    let unknown = generate(&model, &[256], 5, &Sampling::Greedy, &mut Rng::new(0), |_| Ok(()));
    assert!(unknown.is_err());
    Ok(())
}

#[test]
fn generating_with_the_inference_twin_ignores_dropout() -> Result<()> {
    let mut config = tiny();
    config.block.dropout = 0.5;
    let mut parameters = Parameters::seeded(0, DType::F32, &CPU);
    Gpt::new(&config, parameters.root())?;
    let twin = Gpt::new(&config, parameters.for_inference().root())?;
    let write = || generate(&twin, &[1], 12, &Sampling::Greedy, &mut Rng::new(0), |_| Ok(()));
    assert_eq!(write()?, write()?);
    Ok(())
}
