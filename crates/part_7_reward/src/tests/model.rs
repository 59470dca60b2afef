//! 7.2 The model: transformers' scores and gradients, scores that depend on the text alone, a head that begins small.

use anyhow::Result;
use candle_core::{DType, Tensor};
use serde_json::Value;
use tensor_core::testing::{assert_close, assert_gradients_flow};
use tensor_core::{Parameters, Rng, backward};
use tiny_gpt::json_file;

use super::{BOTH, CPU, checkpoint, golden, model};
use crate::checkpoint::{raw_rewards, right_pad};
use crate::{
    LossKind, PairBatch, PreferenceLoss, RewardArchitecture, RewardCheckpoint, RewardModel,
    TokenizedPair, model_folder,
};

fn pairs(golden: &Value) -> Result<Vec<TokenizedPair>> {
    let of = |key: &str| serde_json::from_value::<Vec<Vec<u32>>>(golden[key].clone());
    let pairs = of("chosen")?.into_iter().zip(of("rejected")?);
    Ok(pairs
        .map(|(chosen, rejected)| TokenizedPair { chosen, rejected, completion_chars: [0; 2] })
        .collect())
}

#[test]
fn scores_losses_and_gradients_are_those_of_transformers() -> Result<()> {
    let golden_file = json_file::read(&golden("golden.json"))?;
    let (_, model, parameters) = model_folder::open(&golden("llama"), DType::F32, &CPU)?;
    let pairs = pairs(&golden_file)?;
    let batch = PairBatch::from_pairs(&pairs.iter().collect::<Vec<_>>(), &CPU)?;
    let theirs: Vec<f32> = serde_json::from_value(golden_file["scores"].clone())?;
    assert_close(&model.rewards(&batch.ids, &batch.lengths)?, &Tensor::new(theirs, &CPU)?, 1e-4)?;
    let margin = golden_file["margin"].as_f64().expect("a number");
    let centring = golden_file["centring"].as_f64().expect("a number");
    for (key, kind) in
        [("bradley_terry", LossKind::BradleyTerry), ("margin_ranking", LossKind::Margin(margin))]
    {
        let close = |ours: &Tensor, theirs: &Value| {
            let theirs = Tensor::new(theirs.as_f64().expect("a number") as f32, &CPU)?;
            assert_close(ours, &theirs, 1e-4)
        };
        let [chosen, rejected] = batch.rewards(&model)?;
        let loss = PreferenceLoss { kind, center_rewards_coefficient: centring }
            .compute(&chosen, &rejected)?;
        close(&loss, &golden_file[key]["loss"])?;
        let grads = backward(&loss)?;
        let theirs = golden_file[key]["grads"].as_object().expect("gradients");
        assert_eq!(theirs.len(), parameters.trainable().count());
        for parameter in parameters.trainable() {
            let grad = grads.get(parameter.var.as_tensor()).expect("a gradient").flatten_all()?;
            let places = Tensor::arange(0f32, grad.elem_count() as f32, &CPU)?;
            close(&grad.sqr()?.sum_all()?.sqrt()?, &theirs[&parameter.name]["norm"])?;
            let shadow = (&grad * places.cos()?)?.sum_all()?; // knows signs and places
            close(&shadow, &theirs[&parameter.name]["shadow"])?;
        }
    }
    Ok(())
}

fn texts() -> Vec<Vec<u32>> {
    let mut rng = Rng::new(5);
    let text = |n: usize| (0..n).map(|_| rng.below(400) as u32).collect();
    [1, 7, 3, 40, 12, 3, 64].map(text).into()
}

#[test]
fn a_score_depends_neither_on_padding_nor_on_company() -> Result<()> {
    for architecture in BOTH {
        let (model, _) = model(architecture, 2)?;
        let texts = texts();
        let alone = raw_rewards(&model, &texts, 1)?;
        for batch_size in [2, 3, 100] {
            let together = raw_rewards(&model, &texts, batch_size)?;
            for (a, b) in alone.iter().zip(&together) {
                assert!((a - b).abs() <= 1e-5 * (1. + b.abs()), "{architecture:?}: {a} {b}");
            }
        }
        for padding in [0, 399] {
            let short: Vec<u32> = texts[1].iter().copied().chain([padding; 9]).collect();
            let ids = Tensor::new(short, &CPU)?.unsqueeze(0)?;
            let score: Vec<f32> = model.rewards(&ids, &[7])?.to_vec1()?;
            let apart = (f64::from(score[0]) - alone[1]).abs();
            assert!(
                apart <= 1e-5 * (1. + alone[1].abs()),
                "{architecture:?}, padded with {padding}"
            );
        }
        let spread = alone.iter().fold(0f64, |spread, score| spread.max((score - alone[0]).abs()));
        assert!(spread > 0.1, "scores that never differ would pass, too");
    }
    Ok(())
}

#[test]
fn the_encoder_reads_all_tokens_and_the_causal_model_the_last() -> Result<()> {
    let ids = |first: u32| Tensor::new(&[[first, 9, 2, 30u32]], &CPU);
    for (architecture, reads) in BOTH.into_iter().zip([false, true]) {
        let (model, parameters) = model(architecture, 3)?;
        // Without what attention brings, a token knows of itself alone: what is pooled shows.
        for parameter in parameters.iter().filter(|p| p.name.ends_with("o_proj.weight")) {
            parameter.var.set(&parameter.var.zeros_like()?)?;
        }
        let [a, b] = [ids(5)?, ids(6)?].map(|ids| model.rewards(&ids, &[4]));
        let apart = (a? - b?)?.abs()?.to_vec1::<f32>()?[0];
        assert_eq!(apart > 1e-4, reads, "{architecture:?}: {apart}");
    }
    Ok(())
}

#[test]
fn the_encoder_has_no_causal_mask() -> Result<()> {
    let (encoder, parameters) = model(RewardArchitecture::Encoder, 3)?;
    let config = *encoder.backbone().config();
    let causal =
        RewardModel::new(&config, RewardArchitecture::Causal, &mut parameters.for_inference())?;
    // Under a causal mask no token's state would change with those behind it: the mean's score would be the mean of the
    // scores that the causal form gives to what begins the text.
    let text = [5u32, 9, 2, 30];
    let begins: Vec<&[u32]> = (1..=text.len()).map(|n| &text[..n]).collect();
    let mean = raw_rewards(&causal, &begins, 4)?.iter().sum::<f64>() / 4.;
    let found = raw_rewards(&encoder, &[text], 1)?[0];
    assert!((found - mean).abs() > 1e-2 * (1. + mean.abs()), "{found} {mean}");
    Ok(())
}

#[test]
fn gradients_reach_every_parameter_of_either_form() -> Result<()> {
    for architecture in BOTH {
        let (model, parameters) = model(architecture, 4)?;
        let texts = texts();
        let rows: Vec<&[u32]> = texts.iter().map(|text| &text[..]).collect();
        let (ids, lengths) = right_pad(&rows, &CPU)?;
        let weights = Tensor::arange(1f32, 8., &CPU)?;
        let loss = (model.rewards(&ids, &lengths)? * weights)?.sum_all()?;
        assert_gradients_flow(&parameters, &backward(&loss)?)?;
    }
    Ok(())
}

#[test]
fn a_fresh_head_is_as_small_as_it_is_wide_and_has_no_bias() -> Result<()> {
    let config = modern::ModelConfig::byte_level(8, 1, 4, 1024);
    let mut parameters = Parameters::seeded(1, DType::F32, &CPU);
    RewardModel::new(&config, RewardArchitecture::Causal, &mut parameters)?;
    let head = parameters.get("score.weight").expect("a head").var.flatten_all()?;
    let std = head.sqr()?.mean_all()?.sqrt()?.to_scalar::<f32>()?;
    assert!((std * 1025f32.sqrt() - 1.).abs() < 0.1, "{std}");
    let begun = |seed| {
        RewardCheckpoint::from_language_model(
            checkpoint(3)?,
            RewardArchitecture::Causal,
            None,
            seed,
        )
    };
    let [a, b] = [begun(1)?, begun(2)?].map(|begun| raw_rewards(&begun.model, &[[5, 9]], 1));
    assert_ne!(a?, b?, "it is drawn by the seed");
    assert!(parameters.get("score.bias").is_none());
    Ok(())
}

#[test]
fn lengths_that_cannot_be_are_errors() -> Result<()> {
    let (model, _) = model(RewardArchitecture::Causal, 1)?;
    let ids = Tensor::zeros((2, 3), DType::U32, &CPU)?;
    for lengths in [&[1, 4][..], &[0, 1], &[2]] {
        assert!(model.rewards(&ids, lengths).is_err(), "{lengths:?}");
    }
    let long = Tensor::zeros((1, 65), DType::U32, &CPU)?;
    let error = model.rewards(&long, &[65]).expect_err("too long").to_string();
    assert!(error.contains("context of 64"), "{error}");
    Ok(())
}
