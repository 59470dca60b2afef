//! 8.3: rollouts record log-probabilities that the training code reproduces.

use std::num::NonZeroUsize;

use anyhow::Result;
use candle_core::Tensor;
use datasets::Example;
use model_io::SlidingWindow;
use tensor_core::testing::{assert_close, assert_gradients_flow};
use tensor_core::{Rng, backward};

use super::{CPU, END, at, config, inference_model, policy};
use crate::log_probs::log_probs;
use crate::prompts::{limit_length, prompt_ids, step_rng};
use crate::{PromptExample, PromptLoader, RolloutGroup, SampledCompletion, TokenBatch, rollout};
use model_io::ModelConfig;
use model_io::config::{ExpertWeights, LayerWindow, Mlp};

const PROMPTS: [&[u32]; 3] = [&[1, 2, 3, 4, 5], &[7, END, 8], &[9]];

fn prompts() -> Vec<Vec<u32>> {
    PROMPTS.map(<[u32]>::to_vec).to_vec()
}

#[test]
fn log_probs_equal_those_recorded_at_sampling() -> Result<()> {
    let mut windowed = config();
    let window = LayerWindow::from(SlidingWindow { size: 4, sinks: 0 });
    windowed.attention.window = Some(window);
    // A window in the first of two layers, and one that no text exceeds.
    let mut mixed = windowed;
    let in_first_layer = LayerWindow { full_attention_interval: Some(2), ..window };
    mixed.attention.window = Some(in_first_layer);
    let mut wide = mixed;
    let window = SlidingWindow { size: 24, sinks: 0 };
    wide.attention.window = Some(LayerWindow { window, ..in_first_layer });
    for config in [config(), windowed, mixed, wide] {
        let (_, parameters) = policy(&config, 3)?;
        let model = inference_model(&config, &parameters)?;
        let [plain, filtered] = [at(1., None, None), at(1.3, Some(3), Some(0.8))];
        let [long, filtered_long] = [&plain, &filtered]
            .map(|settings| crate::RolloutConfig { min_new_tokens: 4, ..settings.clone() });
        for settings in [plain, long, at(0.6, None, None), filtered, filtered_long] {
            let groups = rollout(&model, &prompts(), &settings, &mut Rng::new(1))?;
            let mut completions = groups.iter().flat_map(|group| &group.completions);
            assert!(completions.all(|one| one.tokens.len() > settings.min_new_tokens));
            let batch = TokenBatch::from_groups(&groups, &config, &CPU)?;
            let scored = log_probs(&model, &batch, settings.temperature())?;
            assert_close(&scored, &batch.behavior_log_probs(&groups)?, 1e-5);
        }
    }
    Ok(())
}

#[test]
fn a_shared_prompt_batch_equals_its_texts_alone() -> Result<()> {
    let config = config();
    let (model, parameters) = policy(&config, 3)?;
    let settings = at(1., None, None);
    let groups =
        rollout(&inference_model(&config, &parameters)?, &prompts(), &settings, &mut Rng::new(1))?;
    let batch = TokenBatch::from_groups(&groups, &config, &CPU)?;
    let together = log_probs(&model, &batch, 1.)?;
    let mut alone = Vec::new();
    for RolloutGroup { prompt, completions: responses } in &groups {
        for response in responses {
            let group =
                RolloutGroup { prompt: prompt.clone(), completions: vec![response.clone()] };
            let scored = log_probs(&model, &TokenBatch::from_groups([&group], &config, &CPU)?, 1.)?;
            alone.push(scored.squeeze(0)?);
        }
    }
    for (row, alone) in alone.iter().enumerate() {
        let len = alone.dim(0)?;
        assert_close(&together.get(row)?.narrow(0, 0, len)?, alone, 1e-5);
    }
    let of = |loss: &Tensor| backward(&loss.sum_all()?);
    let (a, b) = (of(&together)?, of(&Tensor::cat(&alone, 0)?)?);
    assert_gradients_flow(&parameters, &a)?;
    for parameter in parameters.iter() {
        let [a, b] = [&a, &b].map(|grads| grads.get(parameter.var.as_tensor()).expect("one"));
        assert_close(a, b, 1e-3);
    }
    Ok(())
}

/// Number of unmasked tokens in each row of `mask: (R, T)`.
fn lengths(mask: &Tensor) -> Result<Vec<usize>> {
    let rows = mask.to_vec2::<f32>()?;
    Ok(rows.iter().map(|row| row.iter().filter(|&&real| real != 0.).count()).collect())
}

#[test]
fn the_batch_size_of_a_rollout_changes_no_completion() -> Result<()> {
    let config = config();
    let (_, parameters) = policy(&config, 3)?;
    let model = inference_model(&config, &parameters)?;
    let tokens = |batch_size| -> Result<Vec<Vec<u32>>> {
        let settings = crate::RolloutConfig { batch_size, ..at(1., None, None) };
        let groups = rollout(&model, &prompts(), &settings, &mut Rng::new(1))?;
        let completions = groups.into_iter().flat_map(|group| group.completions);
        Ok(completions.map(|completion| completion.tokens).collect())
    };
    let together = tokens(usize::MAX)?;
    assert_eq!(tokens(1)?, together);
    assert_eq!(tokens(2)?, together);
    Ok(())
}

#[test]
fn the_mask_holds_lengths_whatever_the_token_values() -> Result<()> {
    let config = config();
    let (_, parameters) = policy(&config, 3)?;
    let model = inference_model(&config, &parameters)?;
    let groups = rollout(&model, &prompts(), &at(2., None, None), &mut Rng::new(1))?;
    let all: Vec<_> = groups.iter().flat_map(|group| &group.completions).collect();
    let batch = TokenBatch::from_groups(&groups, &config, &CPU)?;
    let lengths = lengths(&batch.mask)?;
    assert_eq!(lengths, all.iter().map(|response| response.tokens.len()).collect::<Vec<_>>());
    let ended = all.iter().filter(|response| response.terminated()).count();
    assert!(ended > 0 && ended < all.len(), "some terminate and some are truncated");
    for response in all {
        let end = response.tokens.iter().position(|&token| token == END);
        assert_eq!(response.terminated(), end.is_some());
        assert!(
            end.is_none_or(|end| end + 1 == response.tokens.len()),
            "the stop token is the last token"
        );
    }
    Ok(())
}

#[test]
fn completions_of_a_prompt_have_independent_first_tokens() -> Result<()> {
    let config = config();
    let (_, parameters) = policy(&config, 3)?;
    let model = inference_model(&config, &parameters)?;
    let settings = crate::RolloutConfig { group_size: 16, ..at(2., None, None) };
    let groups = rollout(&model, &prompts(), &settings, &mut Rng::new(1))?;
    for group in &groups {
        let mut first: Vec<u32> =
            group.completions.iter().map(|completion| completion.tokens[0]).collect();
        first.sort_unstable();
        first.dedup();
        assert!(first.len() > 3, "{first:?}");
    }
    assert_ne!(step_rng(1, 1), step_rng(1, 2));
    let again = rollout(&model, &prompts(), &settings, &mut Rng::new(1))?;
    assert_eq!(groups, again);
    Ok(())
}

#[test]
fn a_completion_never_exceeds_the_context() -> Result<()> {
    let config = config();
    let (_, parameters) = policy(&config, 3)?;
    let model = inference_model(&config, &parameters)?;
    let settings =
        crate::RolloutConfig { max_new_tokens: 50, stop_token_ids: vec![11], ..at(1., None, None) };
    let groups = rollout(&model, &[vec![3; 22], vec![4; 2]], &settings, &mut Rng::new(1))?;
    for RolloutGroup { prompt, completions: responses } in &groups {
        assert!(responses.iter().all(|r| prompt.len() + r.tokens.len() <= config.context_len));
        assert!(responses.iter().all(|r| r.tokens.len() == r.log_probs.len()));
    }
    TokenBatch::from_groups(&groups, &config, &CPU)?.hidden(&model)?;
    let error = rollout(&model, &[vec![3; 24]], &settings, &mut Rng::new(1)).unwrap_err();
    assert!(error.to_string().contains("24 tokens leaves no room"), "{error}");
    let zero = crate::RolloutConfig { max_new_tokens: 0, ..settings };
    assert!(rollout(&model, &[vec![3]], &zero, &mut Rng::new(1)).is_err());
    Ok(())
}

#[test]
fn completions_of_many_lengths_share_a_batch() -> Result<()> {
    let response = |len| SampledCompletion {
        tokens: vec![3; len],
        log_probs: vec![-1.; len],
        allowed_tokens: Vec::new(),
        finish_reason: modern::FinishReason::Length,
    };
    let group = |lens: &[usize]| RolloutGroup {
        prompt: vec![1],
        completions: lens.iter().map(|&len| response(len)).collect(),
    };
    let groups = [group(&[3, 2]), group(&[5]), group(&[1, 4, 4])];
    let batch = TokenBatch::from_groups(&groups, &config(), &CPU)?;
    assert_eq!(batch.mask.dims(), [6, 5]);
    assert_eq!(lengths(&batch.mask)?, [3, 2, 5, 1, 4, 4]);
    assert_close(&batch.behavior_log_probs(&groups)?, &batch.mask.neg()?, 0.);
    Ok(())
}

#[test]
fn a_terminated_completion_holds_its_stop_token() -> Result<()> {
    let config = config();
    let (_, parameters) = policy(&config, 3)?;
    let model = inference_model(&config, &parameters)?;
    let settings =
        crate::RolloutConfig { max_new_tokens: 50, group_size: 16, ..at(2., None, None) };
    for seed in 0..50 {
        let groups = rollout(&model, &[vec![3; 22]], &settings, &mut Rng::new(seed))?;
        for response in &groups[0].completions {
            assert_eq!(response.terminated(), response.tokens.contains(&END), "{response:?}");
        }
    }
    Ok(())
}

#[test]
fn longer_prompts_than_the_limit_are_dropped_and_counted() -> Result<()> {
    let prompt = |len| PromptExample { example: Example::new("", ""), prompt: vec![1; len] };
    let prompts = || (vec![prompt(3), prompt(5), prompt(4)], 2);
    let (kept, n_dropped) = limit_length(prompts(), NonZeroUsize::new(4))?;
    assert_eq!((prompt_ids(&kept), n_dropped), (vec![vec![1; 3], vec![1; 4]], 3));
    assert_eq!(limit_length(prompts(), None)?.1, 2);
    let error = limit_length(prompts(), NonZeroUsize::new(2)).unwrap_err().to_string();
    assert!(error.contains("all prompts are longer than 2 tokens"), "{error}");
    Ok(())
}

#[test]
fn no_prompt_repeats_within_an_epoch() -> Result<()> {
    let question = |i| PromptExample { example: Example::new("q", "a"), prompt: vec![i] };
    let mut prompts = PromptLoader::new((0..7).map(question).collect(), 3)?;
    let prompt_examples: Vec<u32> =
        (1..=7).flat_map(|step| prompts.batch(step, 3)).map(|example| example.prompt[0]).collect();
    for time in prompt_examples.chunks(7) {
        let mut sorted = time.to_vec();
        sorted.sort_unstable();
        assert_eq!(sorted, (0..7).collect::<Vec<_>>());
    }
    assert_ne!(prompt_examples[..7], prompt_examples[7..14]);
    Ok(())
}

#[test]
fn a_lora_policy_without_adapters_is_its_own_reference() -> Result<()> {
    let config = config();
    let (_, mut parameters) = policy(&config, 3)?;
    let before = inference_model(&config, &parameters)?;
    let lora = model_io::LoraConfig::new(2);
    sft::lora::attach(&mut parameters, &lora, 1)?;
    let model = modern::GptModern::new(&config, parameters.root())?;
    let mut without = parameters.without_adapters().for_inference();
    let reference = modern::GptModern::new(&config, without.root())?;
    let groups = rollout(&before, &prompts(), &at(1., None, None), &mut Rng::new(1))?;
    let batch = TokenBatch::from_groups(&groups, &config, &CPU)?;
    let of = |model: &modern::GptModern| log_probs(model, &batch, 1.);
    assert_close(&of(&reference)?, &of(&before)?, 0.);
    assert_close(of(&model)?.detach(), &of(&before)?, 0.);
    for parameter in parameters.trainable() {
        parameter.var.set(&(parameter.var.as_detached_tensor() + 0.1)?)?;
    }
    let grads = backward(&of(&model)?.sum_all()?)?;
    assert_gradients_flow(&parameters, &grads)?; // to the adapters only
    assert_close(&of(&reference)?, &of(&before)?, 0.);
    let moved = (of(&model)?.detach() - of(&reference)?)?.abs()?.sum_all()?.to_scalar::<f32>()?;
    assert!(moved > 0.1, "{moved}");
    Ok(())
}

#[test]
fn a_token_is_scored_by_the_experts_that_sampled_it() -> Result<()> {
    let (n_expert, top_k, weights) = (4, 2, ExpertWeights::Renormalized);
    let mlp = Mlp::Experts { width: 8, n_expert, top_k, weights };
    let config = ModelConfig { mlp, ..config() };
    let (_, parameters) = policy(&config, 3)?;
    let model = inference_model(&config, &parameters)?;
    let settings = at(1., None, None);
    let groups = rollout(&model, &prompts(), &settings, &mut Rng::new(1))?;
    let batch = TokenBatch::from_groups(&groups, &config, &CPU)?;
    // Experts add up in another order when they read several tokens at once; another expert would
    // show in the first digits.
    assert_close(log_probs(&model, &batch, 1.)?, &batch.behavior_log_probs(&groups)?, 1e-4);
    Ok(())
}
