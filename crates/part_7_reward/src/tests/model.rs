//! 7.2 Reward model: agreement with transformers, independence from padding, initialization.

use anyhow::Result;
use candle_core::{DType, Tensor};
use modern::GradientCheckpointing;
use serde_json::Value;
use tensor_core::testing::{assert_close, assert_gradients_flow};
use tensor_core::{Parameters, Rng, backward, json_file};

use super::{BOTH, CPU, checkpoint, golden, model};
use crate::checkpoint::{raw_rewards, right_pad};
use crate::{
    LossKind, PairBatch, PreferenceLoss, RewardArchitecture, RewardCheckpoint, RewardModel,
    TokenizedPair, model_folder,
};

fn pairs(golden: &Value) -> Result<Vec<TokenizedPair>> {
    let texts = |key: &str| serde_json::from_value::<Vec<Vec<u32>>>(golden[key].clone());
    let pairs = texts("chosen")?.into_iter().zip(texts("rejected")?);
    Ok(pairs
        .map(|(chosen, rejected)| TokenizedPair { chosen, rejected, completion_chars: [0; 2] })
        .collect())
}

#[test]
fn rewards_losses_and_gradients_agree_with_transformers() -> Result<()> {
    let golden_file = json_file::read(&golden("golden.json"))?;
    let (_, model, parameters) = model_folder::open(&golden("llama"), DType::F32, &CPU)?;
    let pairs = pairs(&golden_file)?;
    let batch = PairBatch::from_pairs(&pairs.iter().collect::<Vec<_>>(), &CPU)?;
    let expected: Vec<f32> = serde_json::from_value(golden_file["scores"].clone())?;
    let rewards = model.rewards(&batch.ids, &batch.lengths)?;
    assert_close(&rewards, &Tensor::new(expected, &CPU)?, 1e-4);
    let margin = golden_file["margin"].as_f64().expect("a number");
    let center_rewards_coefficient = golden_file["centring"].as_f64().expect("a number");
    for (key, kind) in
        [("bradley_terry", LossKind::BradleyTerry), ("margin_ranking", LossKind::Margin(margin))]
    {
        let assert_scalar = |actual: &Tensor, expected: &Value| {
            assert_close(actual, expected.as_f64().expect("a number"), 1e-4);
        };
        let [chosen, rejected] = batch.rewards(&model)?;
        let loss = PreferenceLoss { kind, center_rewards_coefficient };
        let loss = loss.compute(&chosen, &rejected)?;
        assert_scalar(&loss, &golden_file[key]["loss"]);
        let grads = backward(&loss)?;
        let expected = golden_file[key]["grads"].as_object().expect("gradients");
        assert_eq!(expected.len(), parameters.trainable().count());
        for parameter in parameters.trainable() {
            let grad = grads.get(parameter.var.as_tensor()).expect("a gradient").flatten_all()?;
            let positions = Tensor::arange(0f32, grad.elem_count() as f32, &CPU)?;
            assert_scalar(&grad.sqr()?.sum_all()?.sqrt()?, &expected[&parameter.name]["norm"]);
            // A weighted sum that depends on signs and positions, which the norm ignores.
            let projection = (&grad * positions.cos()?)?.sum_all()?;
            assert_scalar(&projection, &expected[&parameter.name]["shadow"]);
        }
    }
    Ok(())
}

#[test]
fn dropout_changes_the_rewards_in_training_alone() -> Result<()> {
    for architecture in BOTH {
        let (model, mut parameters) = model(architecture, 1)?;
        let ids = Tensor::new(&[[1u32, 2, 3], [3, 2, 1]], &CPU)?;
        let rewards = |model: &RewardModel| model.rewards(&ids, &[3, 2])?.to_vec1::<f32>();
        let dropout = parameters.root().dropout(0.5);
        let training = model.clone().for_training(dropout, GradientCheckpointing::Off);
        assert_ne!(rewards(&training)?, rewards(&training)?, "each call draws its own mask");
        let inference = training.for_inference(&parameters)?;
        assert_eq!(rewards(&inference)?, rewards(&model)?);
    }
    Ok(())
}

#[test]
fn gradient_checkpointing_changes_no_gradient_with_dropout_either() -> Result<()> {
    for architecture in BOTH {
        let gradients = |gradient_checkpointing| -> Result<Vec<Vec<f32>>> {
            let (model, mut parameters) = model(architecture, 1)?;
            let dropout = parameters.root().dropout(0.3);
            let model = model.for_training(dropout, gradient_checkpointing);
            assert_eq!(model.backbone().gradient_checkpointing(), gradient_checkpointing);
            let ids = Tensor::new(&[[1u32, 2, 3], [3, 2, 1]], &CPU)?;
            let grads = backward(&model.rewards(&ids, &[3, 2])?.sqr()?.sum_all()?)?;
            let all = parameters.trainable().map(|parameter| {
                let grad = grads.get(parameter.var.as_tensor()).expect("a gradient");
                Ok(grad.flatten_all()?.to_vec1()?)
            });
            all.collect()
        };
        let [off, on] = [GradientCheckpointing::Off, GradientCheckpointing::On].map(gradients);
        for (stored, recomputed) in off?.iter().zip(&on?) {
            assert_close(recomputed, stored, 1e-6);
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
fn a_reward_depends_neither_on_padding_nor_on_the_other_rows() -> Result<()> {
    for architecture in BOTH {
        let (model, _) = model(architecture, 2)?;
        let texts = texts();
        let unbatched = raw_rewards(&model, &texts, 1)?;
        for batch_size in [2, 3, 100] {
            let batched = raw_rewards(&model, &texts, batch_size)?;
            for (a, b) in unbatched.iter().zip(&batched) {
                assert_close(a, b, 1e-5);
            }
        }
        for padding in [0, 399] {
            let padded: Vec<u32> = texts[1].iter().copied().chain([padding; 9]).collect();
            let ids = Tensor::new(padded, &CPU)?.unsqueeze(0)?;
            let reward: Vec<f32> = model.rewards(&ids, &[7])?.to_vec1()?;
            let difference = (f64::from(reward[0]) - unbatched[1]).abs();
            assert!(
                difference <= 1e-5 * (1. + unbatched[1].abs()),
                "{architecture:?}, padded with {padding}"
            );
        }
        // A model with constant rewards would pass the checks above.
        let first = unbatched[0];
        let spread = unbatched.iter().fold(0f64, |max, reward| max.max((reward - first).abs()));
        assert!(spread > 0.1, "{spread}");
    }
    Ok(())
}

#[test]
fn the_encoder_pools_all_tokens_and_the_causal_model_the_last() -> Result<()> {
    let ids = |first: u32| Tensor::new(&[[first, 9, 2, 30u32]], &CPU);
    for (architecture, depends_on_first) in BOTH.into_iter().zip([false, true]) {
        let (model, parameters) = model(architecture, 3)?;
        // Without attention a hidden state depends on its own token only, so a change of the first
        // token reaches the reward only through pooling.
        for parameter in parameters.iter().filter(|p| p.name.ends_with("o_proj.weight")) {
            parameter.var.set(&parameter.var.zeros_like()?)?;
        }
        let [a, b] = [ids(5)?, ids(6)?].map(|ids| model.rewards(&ids, &[4]));
        let difference = (a? - b?)?.abs()?.to_vec1::<f32>()?[0];
        assert_eq!(difference > 1e-4, depends_on_first, "{architecture:?}: {difference}");
    }
    Ok(())
}

#[test]
fn the_encoder_has_no_causal_mask() -> Result<()> {
    let (encoder, parameters) = model(RewardArchitecture::BidirectionalMean, 3)?;
    let config = *encoder.backbone().config();
    let causal = RewardModel::new(
        &config,
        RewardArchitecture::CausalLastToken,
        &mut parameters.for_inference(),
    )?;
    // With a causal mask a hidden state would not depend on later tokens, so the encoder's reward
    // would be the mean of the causal model's rewards of all prefixes.
    let text = [5u32, 9, 2, 30];
    let prefixes: Vec<&[u32]> = (1..=text.len()).map(|n| &text[..n]).collect();
    let mean = raw_rewards(&causal, &prefixes, 4)?.iter().sum::<f64>() / 4.;
    let reward = raw_rewards(&encoder, &[text], 1)?[0];
    assert!((reward - mean).abs() > 1e-2 * (1. + mean.abs()), "{reward} {mean}");
    Ok(())
}

#[test]
fn gradients_reach_every_parameter_of_both_architectures() -> Result<()> {
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
fn a_new_head_has_standard_deviation_1_over_sqrt_c_plus_1_and_no_bias() -> Result<()> {
    let config = model_io::ModelConfig::byte_level(8, 1, 4, 1024);
    let mut parameters = Parameters::seeded(1, DType::F32, &CPU);
    RewardModel::new(&config, RewardArchitecture::CausalLastToken, &mut parameters)?;
    let head = parameters.get("score.weight").expect("a head").var.flatten_all()?;
    let std = head.sqr()?.mean_all()?.sqrt()?.to_scalar::<f32>()?;
    assert_close(std * 1025f32.sqrt(), 1., 0.1);
    let initial = |seed| {
        RewardCheckpoint::from_language_model(
            checkpoint(3)?,
            RewardArchitecture::CausalLastToken,
            None,
            seed,
        )
    };
    let [a, b] =
        [initial(1)?, initial(2)?].map(|initial| raw_rewards(&initial.model, &[[5, 9]], 1));
    assert_ne!(a?, b?, "different seeds give different heads");
    assert!(parameters.get("score.bias").is_none());
    Ok(())
}

#[test]
fn invalid_lengths_and_too_long_texts_are_errors() -> Result<()> {
    let (model, _) = model(RewardArchitecture::CausalLastToken, 1)?;
    let ids = Tensor::zeros((2, 3), DType::U32, &CPU)?;
    for lengths in [&[1, 4][..], &[0, 1], &[2]] {
        assert!(model.rewards(&ids, lengths).is_err(), "{lengths:?}");
    }
    let long = Tensor::zeros((1, 65), DType::U32, &CPU)?;
    let error = model.rewards(&long, &[65]).expect_err("too long").to_string();
    assert!(error.contains("context of 64"), "{error}");
    Ok(())
}

#[test]
fn a_new_reward_model_has_the_hidden_states_of_its_language_model() -> Result<()> {
    let base = checkpoint(3)?;
    let ids = Tensor::new(&[[5u32, 60, 70, 8]], &CPU)?;
    let expected = base.model.hidden_states(&ids)?.detach();
    let architecture = RewardArchitecture::CausalLastToken;
    let new = RewardCheckpoint::from_language_model(base, architecture, None, 7)?;
    assert_close(new.model.backbone().hidden_states(&ids)?.detach(), &expected, 0.);
    Ok(())
}
