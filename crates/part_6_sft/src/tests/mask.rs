//! 6.2: the loss mask. Each test guards against a mistake made in some real project.

use anyhow::Result;
use candle_core::Module;
use datasets::Example;
use model_io::{AddGenerationPrompt, ChatMessage};
use tensor_core::ops::{IGNORE_INDEX, cross_entropy};
use tensor_core::testing::assert_close;

use super::{CPU, chat_tokenizer, config, model, tokens_of};
use crate::tokenized_dataset::max_inputs;
use crate::{ChatFormat, SftBatch, TokenizedExample, tokenize};

/// Target tokens, in order.
fn target_ids(tokens: &TokenizedExample) -> Vec<i64> {
    tokens.labels().filter(|&label| label != IGNORE_INDEX).collect()
}

#[test]
fn the_loss_covers_exactly_the_completion_and_eos() -> Result<()> {
    for format in [ChatFormat::Instruction, ChatFormat::Dialogue, ChatFormat::Plain] {
        let chat_tokenizer = chat_tokenizer(format)?;
        for (prompt, completion) in
            [("What is 12 + 7?", "19"), ("Hi", " the  answer "), ("19", "19 19")]
        {
            let tokens = tokens_of(&Example::new(prompt, completion), &chat_tokenizer)?;
            let mut expected = chat_tokenizer.encode_completion_without_eos(completion)?;
            expected.push(chat_tokenizer.eos_token_id());
            let expected: Vec<i64> = expected.into_iter().map(i64::from).collect();
            assert_eq!(target_ids(&tokens), expected, "{format:?}");
            assert_eq!(tokens.n_targets(), expected.len());
            assert_eq!(tokens.inputs().len(), tokens.labels().count());
            let share = expected.len() as f64 / tokens.inputs().len() as f64;
            assert!(share > 0. && share < 1., "some tokens are targets, but not all");
        }
    }
    Ok(())
}

#[test]
fn the_loss_mask_matches_the_generation_marks_of_the_template() -> Result<()> {
    // The template marks the assistant's text with {% generation %}, independently of the mask.
    let chat_tokenizer = chat_tokenizer(ChatFormat::Instruction)?;
    let example = Example::new("What is 12 + 7?", "19");
    let mut messages = example.prompt.clone();
    messages.push(ChatMessage::assistant(&example.completion));
    let whole = chat_tokenizer.template.encode(
        &chat_tokenizer.tokenizer,
        &messages,
        AddGenerationPrompt::No,
    )?;
    let tokens = tokens_of(&example, &chat_tokenizer)?;
    assert_eq!(whole.assistant_spans.len(), 1);
    assert_eq!(whole.assistant_spans[0], tokens.target_spans[0]);
    assert_eq!(whole.tokens[..tokens.ids.len()], tokens.ids);
    Ok(())
}

#[test]
fn labels_match_the_upstream_byte_example() {
    // Upstream's worked example: a prompt of 39 bytes, the completion "OK" and an EOS of four
    // characters; 38 labels of -100, then 79, 75, 60, 47, 115, 62. Here EOS is one token.
    let prompt = "<s>\n### Instruction:\nHi\n\n### Response:\n";
    assert_eq!(prompt.len(), 39);
    let ids = [prompt.as_bytes(), b"OK</s>"].concat().into_iter().map(u32::from).collect();
    let labels: Vec<i64> = TokenizedExample::new(ids, 39).labels().collect();
    assert!(labels[..38].iter().all(|&label| label == IGNORE_INDEX));
    assert_eq!(labels[38..], [79, 75, 60, 47, 115, 62]);
}

#[test]
fn eos_is_a_target_in_a_completion_and_never_in_the_padding() -> Result<()> {
    // EOS within a completion, at its end, and as padding: the position decides, not the value.
    let eos = 0;
    let long = TokenizedExample::new(vec![5, 6, 7, eos, 8, eos], 2);
    let short = TokenizedExample::new(vec![5, eos, eos], 2);
    let batch = SftBatch::padded(&[long, short], &CPU)?;
    assert_eq!(batch.inputs.to_vec2::<u32>()?, [[5, 6, 7, 0, 8], [5, 0, 0, 0, 0]]);
    assert_eq!(batch.target_positions.to_vec1::<u32>()?, [1, 2, 3, 4, 6]);
    assert_eq!(batch.targets.to_vec1::<i64>()?, [7, 0, 8, 0, 0]);
    assert_eq!(batch.n_tokens(), 7);
    Ok(())
}

/// As TRL's `max_length`, which counts all tokens of an example.
#[test]
fn an_example_has_at_most_max_length_tokens() -> Result<()> {
    let chat_tokenizer = chat_tokenizer(ChatFormat::Plain)?;
    let example = Example::new("What", "is the answer");
    let n = tokens_of(&example, &chat_tokenizer)?.ids.len();
    for (max_length, expected) in [(None, n), (Some(n), n), (Some(n - 3), n - 3), (Some(99), n)] {
        let n_inputs = max_inputs(n + 10, max_length);
        let data = tokenize(std::slice::from_ref(&example), &chat_tokenizer, n_inputs)?;
        assert_eq!(data.examples[0].ids.len(), expected, "{max_length:?}");
        assert_eq!(data.n_truncated, usize::from(expected < n));
    }
    assert_eq!(max_inputs(5, Some(99)), 5, "the context is the limit");
    Ok(())
}

#[test]
fn long_completions_are_truncated_and_examples_without_targets_skipped() -> Result<()> {
    let chat_tokenizer = chat_tokenizer(ChatFormat::Plain)?;
    let whole = Example::new("What", "is the answer");
    let all = tokens_of(&whole, &chat_tokenizer)?;
    let (prompt_len, n) = (all.target_spans[0].start, all.ids.len());
    for context_len in 1..n + 2 {
        let dataset = tokenize(std::slice::from_ref(&whole), &chat_tokenizer, context_len)?;
        if context_len < prompt_len {
            assert_eq!(
                (dataset.examples.len(), dataset.n_skipped),
                (0, 1),
                "context {context_len}"
            );
            continue;
        }
        let tokens = &dataset.examples[0];
        assert_eq!(dataset.n_truncated, usize::from(context_len < n - 1));
        assert_eq!(tokens.inputs().len(), context_len.min(n - 1));
        assert_eq!(tokens.ids, all.ids[..tokens.ids.len()], "the start is kept");
        let learns_eos = target_ids(tokens).contains(&i64::from(chat_tokenizer.eos_token_id()));
        assert_eq!(learns_eos, context_len >= n - 1, "EOS of a truncated completion");
    }
    Ok(())
}

#[test]
fn logits_at_the_targets_give_the_same_loss_as_all_logits() -> Result<()> {
    let (model, _) = model(&config(16), 1)?;
    let examples = [
        TokenizedExample::new(vec![9, 3, 4, 5, 0], 2),
        TokenizedExample::new(vec![7, 8, 0], 1),
        TokenizedExample::new(vec![1, 2, 3], 3), // no targets
    ];
    let batch = SftBatch::padded(&examples, &CPU)?;
    let labels: Vec<i64> = examples
        .iter()
        .flat_map(|example| example.labels().chain([IGNORE_INDEX; 4]).take(4))
        .collect();
    let labels = candle_core::Tensor::from_vec(labels, (3, 4), &CPU)?;
    let all = cross_entropy(&model.forward(&batch.inputs)?, &labels)?;
    assert_close(&batch.loss(&model)?, &all, 1e-6);
    Ok(())
}

#[test]
fn a_batch_without_targets_has_loss_zero_and_not_nan() -> Result<()> {
    let (model, _) = model(&config(16), 1)?;
    let batch = SftBatch::padded(&[TokenizedExample::new(vec![1, 2, 3], 3)], &CPU)?;
    assert_eq!(batch.n_targets(), 0);
    assert_eq!(batch.loss(&model)?.to_scalar::<f32>()?, 0.);
    Ok(())
}
