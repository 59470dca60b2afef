//! 8.5: win rate and KL against a reference, computed by hand.

use anyhow::Result;
use candle_core::{Module, Tensor};
use modern::{GptModern, SamplingStrategy};
use tensor_core::ops::log_softmax;
use tensor_core::testing::assert_close;
use tensor_core::{Parameters, Rng};

use super::CPU;
use super::small_run::{chat_tokenizer, model_config, prompt_examples};
use crate::{CompletionEvalConfig, RewardFn, compare_to_reference};

#[test]
fn win_rate_and_kl_equal_their_enumeration() -> Result<()> {
    let (chat_tokenizer, questions) = (chat_tokenizer()?, prompt_examples(&chat_tokenizer()?)?);
    let model = |seed| -> Result<GptModern> {
        let mut parameters = Parameters::seeded(seed, candle_core::DType::F32, &CPU);
        GptModern::new(&model_config(&chat_tokenizer), parameters.root())?;
        for parameter in parameters.iter() {
            parameter.var.set(&(parameter.var.as_detached_tensor() * 4.)?)?;
        }
        Ok(GptModern::new(&model_config(&chat_tokenizer), parameters.for_inference().root())?)
    };
    let both = [&model(1)?, &model(2)?];
    let mut rounds = [[1., 0., 2., 5., 1., 1.], [0., 0., 3., 4., 1., 0.]].into_iter();
    let mut reward_fn: Box<RewardFn> =
        Box::new(move |_, _| Ok(rounds.next().expect("the policy's, the reference's").to_vec()));
    // Completions of one token: the KL is that of one distribution, whatever is sampled.
    let eval_config =
        CompletionEvalConfig { chat_tokenizer: &chat_tokenizer, max_new_tokens: 1, batch_size: 4 };
    let rng = &mut Rng::new(3);
    let (found, _) = compare_to_reference(
        both[0],
        both[1],
        &questions,
        eval_config,
        SamplingStrategy::Greedy,
        &mut *reward_fn,
        rng,
    )?;
    assert_eq!(found.win_rate, (3. + 0.5 * 2.) / 6.);
    assert!(found.win_rate_low < found.win_rate && found.win_rate < found.win_rate_high);
    assert_close(found.reward_mean, 10. / 6., 1e-12);
    assert_close(found.reward_ref_mean, 8. / 6., 1e-12);
    let mut nats = 0.;
    for question in &questions {
        let ids = Tensor::new(&question.prompt[..], &CPU)?.unsqueeze(0)?;
        let [p, q] = both.map(|model| -> Result<Vec<f32>> {
            let logits = model.forward(&ids)?.squeeze(0)?.get(question.prompt.len() - 1)?;
            Ok(log_softmax(&logits.unsqueeze(0)?)?.squeeze(0)?.to_vec1()?)
        });
        let kl = p?.into_iter().zip(q?).map(|(p, q)| f64::from(p.exp() * (p - q)));
        nats += kl.sum::<f64>();
    }
    let expected = nats / questions.len() as f64;
    let kl = found.kl_per_completion;
    assert!(expected > 0.01 && (kl - expected).abs() < 1e-4, "{kl} {expected}");
    assert_eq!(kl, found.kl_per_token, "completions of one token");
    assert_eq!(found.kl_length_mean, 1.);
    let report = serde_json::to_value(found)?;
    assert!(report["kl"] == found.kl_per_token && report["kl_per_completion"] == kl, "{report}");
    Ok(())
}

#[test]
fn a_comparison_refuses_rewards_that_are_not_finite() -> Result<()> {
    let (chat_tokenizer, questions) = (chat_tokenizer()?, prompt_examples(&chat_tokenizer()?)?);
    let mut parameters = Parameters::seeded(1, candle_core::DType::F32, &CPU);
    GptModern::new(&model_config(&chat_tokenizer), parameters.root())?;
    let model = GptModern::new(&model_config(&chat_tokenizer), parameters.for_inference().root())?;
    let mut reward_fn: Box<RewardFn> = Box::new(|replies, _| Ok(vec![f64::NAN; replies.len()]));
    let eval_config =
        CompletionEvalConfig { chat_tokenizer: &chat_tokenizer, max_new_tokens: 2, batch_size: 4 };
    let rng = &mut Rng::new(3);
    let error = compare_to_reference(
        &model,
        &model,
        &questions,
        eval_config,
        SamplingStrategy::Greedy,
        &mut *reward_fn,
        rng,
    )
    .unwrap_err();
    assert!(error.to_string().contains("6 of 6 rewards are not finite"), "{error}");
    let mut short: Box<RewardFn> = Box::new(|_, _| Ok(vec![1.]));
    let error = compare_to_reference(
        &model,
        &model,
        &questions,
        eval_config,
        SamplingStrategy::Greedy,
        &mut *short,
        rng,
    )
    .unwrap_err();
    assert!(error.to_string().contains("1 rewards to 6 completions"), "{error}");
    Ok(())
}
