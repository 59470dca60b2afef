//! 6.4: evaluation metrics do not depend on batching, and count truncated and skipped examples.

use anyhow::Result;
use datasets::Example;
use modern::{FinishReason, GptModern};
use tensor_core::testing::assert_close;

use super::{chat_tokenizer, checkpoint, tokens_of};
use crate::evaluation::{GenerationEvalConfig, evaluate, mean_loss};
use crate::{ChatFormat, SftBatch, TokenizedExample};

fn examples() -> Vec<Example> {
    ["What is 12 + 7?", "What", "is the answer of all 12 and 7 and 12"]
        .into_iter()
        .zip(["19", "the answer", "all"])
        .map(|(prompt, completion)| Example::new(prompt, completion))
        .collect()
}

fn inference_model() -> Result<GptModern> {
    let checkpoint = checkpoint(3)?;
    Ok(GptModern::new(checkpoint.model.config(), checkpoint.parameters.for_inference().root())?)
}

#[test]
fn metrics_do_not_depend_on_the_batch_size() -> Result<()> {
    let (model, chat_tokenizer) = (inference_model()?, chat_tokenizer(ChatFormat::Plain)?);
    let evaluate_in_batches = |batch_size| {
        let eval_config = GenerationEvalConfig { batch_size, max_new_tokens: 9, max_length: None };
        evaluate(&model, &examples(), &chat_tokenizer, eval_config)
    };
    let (one, completions) = evaluate_in_batches(1)?;
    assert_eq!(one.n, 3);
    for batch_size in [2, 3, 50] {
        let (metrics, same) = evaluate_in_batches(batch_size)?;
        assert_eq!(same, completions, "greedy");
        assert_close(metrics.loss, one.loss, 1e-5);
    }
    assert_close(one.perplexity, one.loss.exp(), 1e-9);
    Ok(())
}

#[test]
fn the_loss_is_a_mean_over_tokens_not_over_examples() -> Result<()> {
    let (model, chat_tokenizer) = (inference_model()?, chat_tokenizer(ChatFormat::Plain)?);
    let tokens: Vec<TokenizedExample> = examples()
        .iter()
        .map(|example| tokens_of(example, &chat_tokenizer))
        .collect::<Result<_>>()?;
    let (mut nats, mut n) = (0., 0.);
    for example in &tokens {
        let batch = SftBatch::padded(std::slice::from_ref(example), model.device())?;
        let targets = example.n_targets() as f64;
        nats += f64::from(batch.loss(&model)?.to_scalar::<f32>()?) * targets;
        n += targets;
    }
    let loss = mean_loss(&model, &tokens, 2, model.device())?;
    assert_close(loss, nats / n, 1e-5);
    Ok(())
}

#[test]
fn truncated_completions_lower_the_eos_rate_and_text_excludes_eos() -> Result<()> {
    let (model, chat_tokenizer) = (inference_model()?, chat_tokenizer(ChatFormat::Plain)?);
    let eval_config = GenerationEvalConfig { batch_size: 2, max_new_tokens: 3, max_length: None };
    let (metrics, completions) = evaluate(&model, &examples(), &chat_tokenizer, eval_config)?;
    let stopped = completions.iter().filter(|c| c.finish_reason == FinishReason::Stop).count();
    assert_close(metrics.eos_rate, stopped as f64 / 3., 1e-9);
    assert!(completions.iter().all(|c| !c.text.contains("</s>")));
    Ok(())
}

#[test]
fn prompts_that_fill_the_context_are_skipped() -> Result<()> {
    let (model, chat_tokenizer) = (inference_model()?, chat_tokenizer(ChatFormat::Plain)?);
    let mut examples = examples();
    examples.push(Example::new("12 ".repeat(40), "19"));
    let eval_config = GenerationEvalConfig { batch_size: 2, max_new_tokens: 3, max_length: None };
    examples.push(Example::new("What", "12 ".repeat(40)));
    let metrics = evaluate(&model, &examples, &chat_tokenizer, eval_config)?.0;
    assert_eq!((metrics.n, metrics.n_skipped, metrics.n_truncated), (4, 1, 1));
    assert!(evaluate(&model, &examples[3..4], &chat_tokenizer, eval_config).is_err());
    Ok(())
}
