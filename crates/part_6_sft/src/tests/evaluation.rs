//! 6.4: the figures are those of single examples, whatever batches they share.

use anyhow::Result;
use modern::{FinishReason, GptModern};

use super::{checkpoint, speech};
use crate::evaluation::{GenerationEvalConfig, evaluate, mean_loss};
use crate::{ChatFormat, Example, SftBatch, TokenizedExample};

fn examples() -> Vec<Example> {
    ["What is 12 + 7?", "What", "is the answer of all 12 and 7 and 12"]
        .into_iter()
        .zip(["19", "the answer", "all"])
        .map(|(question, answer)| Example::new(question, answer))
        .collect()
}

fn twin() -> Result<GptModern> {
    let checkpoint = checkpoint(3)?;
    Ok(GptModern::new(checkpoint.model.config(), checkpoint.parameters.for_inference().root())?)
}

#[test]
fn batches_of_any_size_give_the_same_figures() -> Result<()> {
    let (model, speech) = (twin()?, speech(ChatFormat::Plain)?);
    let of = |batch_size| {
        let extent = GenerationEvalConfig { batch_size, max_new_tokens: 9 };
        evaluate(&model, &examples(), &speech, extent)
    };
    let (one, answers) = of(1)?;
    assert_eq!(one.n, 3);
    for batch_size in [2, 3, 50] {
        let (found, same) = of(batch_size)?;
        assert_eq!(same, answers, "greedy");
        assert!((found.loss - one.loss).abs() < 1e-5, "{} {}", found.loss, one.loss);
    }
    assert!((one.perplexity - one.loss.exp()).abs() < 1e-9);
    Ok(())
}

#[test]
fn the_loss_is_a_mean_over_tokens_not_over_examples() -> Result<()> {
    let (model, speech) = (twin()?, speech(ChatFormat::Plain)?);
    let tokens: Vec<TokenizedExample> = examples()
        .iter()
        .map(|example| TokenizedExample::from_example(example, &speech))
        .collect::<Result<_>>()?;
    let (mut nats, mut n) = (0., 0.);
    for example in &tokens {
        let batch = SftBatch::padded(std::slice::from_ref(example), model.device())?;
        let targets = example.n_targets() as f64;
        nats += f64::from(batch.loss(&model)?.to_scalar::<f32>()?) * targets;
        n += targets;
    }
    let found = mean_loss(&model, &tokens, 2, model.device())?;
    assert!((found - nats / n).abs() < 1e-5, "{found} {}", nats / n);
    Ok(())
}

#[test]
fn an_answer_cut_off_has_not_ended_and_the_end_is_no_part_of_its_text() -> Result<()> {
    let (model, speech) = (twin()?, speech(ChatFormat::Plain)?);
    let extent = GenerationEvalConfig { batch_size: 2, max_new_tokens: 3 };
    let (found, answers) = evaluate(&model, &examples(), &speech, extent)?;
    let ended = answers.iter().filter(|answer| answer.finish_reason == FinishReason::Stop).count();
    assert!((found.eos_rate - ended as f64 / 3.).abs() < 1e-9);
    assert!(answers.iter().all(|answer| !answer.text.contains("</s>")));
    Ok(())
}

#[test]
fn questions_that_fill_the_context_are_left_out_and_not_counted() -> Result<()> {
    let (model, speech) = (twin()?, speech(ChatFormat::Plain)?);
    let mut examples = examples();
    examples.push(Example::new("12 ".repeat(40), "19"));
    let extent = GenerationEvalConfig { batch_size: 2, max_new_tokens: 3 };
    examples.push(Example::new("What", "12 ".repeat(40)));
    let found = evaluate(&model, &examples, &speech, extent)?.0;
    assert_eq!((found.n, found.n_skipped, found.n_truncated), (4, 1, 1));
    assert!(evaluate(&model, &examples[3..4], &speech, extent).is_err());
    Ok(())
}
