//! 6.2: which tokens are learned. Each claim is a trap that some project fell into.

use anyhow::Result;
use modern::{AddGenerationPrompt, ChatMessage};
use tensor_core::ops::{IGNORE_INDEX, cross_entropy};
use tensor_core::testing::assert_close;

use super::{CPU, config, model, speech};
use crate::{ChatFormat, Example, SftBatch, TokenizedExample, tokenize};

/// The tokens that are learned, in order.
fn learned(tokens: &TokenizedExample) -> Vec<i64> {
    tokens.labels().filter(|&label| label != IGNORE_INDEX).collect()
}

#[test]
fn what_is_learned_is_the_response_and_its_end_exactly() -> Result<()> {
    for format in [ChatFormat::Instruction, ChatFormat::Dialogue, ChatFormat::Plain] {
        let speech = speech(format)?;
        for (question, answer) in
            [("What is 12 + 7?", "19"), ("Hi", " the  answer "), ("19", "19 19")]
        {
            let tokens = TokenizedExample::from_example(&Example::new(question, answer), &speech)?;
            let mut wanted = speech.encode_completion(answer)?;
            wanted.push(speech.eos_token_id());
            let wanted: Vec<i64> = wanted.into_iter().map(i64::from).collect();
            assert_eq!(learned(&tokens), wanted, "{format:?}");
            assert_eq!(tokens.n_targets(), wanted.len());
            assert_eq!(tokens.inputs().len(), tokens.labels().count());
            let share = wanted.len() as f64 / tokens.inputs().len() as f64;
            assert!(share > 0. && share < 1., "neither nothing nor everything");
        }
    }
    Ok(())
}

#[test]
fn the_mask_by_length_is_the_one_that_the_template_marks() -> Result<()> {
    // The template says with {% generation %} what the assistant says: another route to the same places.
    let speech = speech(ChatFormat::Instruction)?;
    let example = Example::new("What is 12 + 7?", "19");
    let mut messages = example.prompt.clone();
    messages.push(ChatMessage::assistant(&example.completion));
    let whole = speech.template.encode(&speech.tokenizer, &messages, AddGenerationPrompt::No)?;
    let tokens = TokenizedExample::from_example(&example, &speech)?;
    assert_eq!(whole.assistant_spans.len(), 1);
    assert_eq!(whole.assistant_spans[0], tokens.prompt_len..tokens.ids.len());
    assert_eq!(whole.tokens[..tokens.ids.len()], tokens.ids);
    Ok(())
}

#[test]
fn the_upstream_example_in_bytes() {
    // Upstream's worked example: a prompt of 39 bytes, the answer "OK" and an end of four characters; 38 labels of -100, then
    // 79, 75, 60, 47, 115, 62. Here the end is one token.
    let prompt = "<s>\n### Instruction:\nHi\n\n### Response:\n";
    assert_eq!(prompt.len(), 39);
    let ids = [prompt.as_bytes(), b"OK</s>"].concat().into_iter().map(u32::from).collect();
    let labels: Vec<i64> = TokenizedExample { ids, prompt_len: 39 }.labels().collect();
    assert!(labels[..38].iter().all(|&label| label == IGNORE_INDEX));
    assert_eq!(labels[38..], [79, 75, 60, 47, 115, 62]);
}

#[test]
fn an_end_token_is_learned_wherever_it_stands_and_padding_never_even_if_it_is_that_token()
-> Result<()> {
    // The end within a response, as the last of it, and as what fills a row up: places decide, values do not.
    let end = 0;
    let long = TokenizedExample { ids: vec![5, 6, 7, end, 8, end], prompt_len: 2 };
    let short = TokenizedExample { ids: vec![5, end, end], prompt_len: 2 };
    let batch = SftBatch::padded(&[long, short], &CPU)?;
    assert_eq!(batch.inputs.to_vec2::<u32>()?, [[5, 6, 7, 0, 8], [5, 0, 0, 0, 0]]);
    assert_eq!(batch.target_positions.to_vec1::<u32>()?, [1, 2, 3, 4, 6]);
    assert_eq!(batch.targets.to_vec1::<i64>()?, [7, 0, 8, 0, 0]);
    assert_eq!(batch.n_tokens(), 7);
    Ok(())
}

#[test]
fn too_long_examples_lose_their_end_and_those_without_a_target_are_skipped_and_counted()
-> Result<()> {
    let speech = speech(ChatFormat::Plain)?;
    let whole = Example::new("What", "is the answer");
    let all = TokenizedExample::from_example(&whole, &speech)?;
    let (given, n) = (all.prompt_len, all.ids.len());
    for context in 1..n + 2 {
        let found = tokenize(std::slice::from_ref(&whole), &speech, context)?;
        if context < given {
            assert_eq!((found.examples.len(), found.n_skipped), (0, 1), "context {context}");
            continue;
        }
        let tokens = &found.examples[0];
        assert_eq!(found.n_truncated, usize::from(context < n - 1));
        assert_eq!(tokens.inputs().len(), context.min(n - 1));
        assert_eq!(tokens.ids, all.ids[..tokens.ids.len()], "the start is kept");
        let ends = learned(tokens).contains(&i64::from(speech.eos_token_id()));
        assert_eq!(ends, context >= n - 1, "a cut response does not learn to stop");
    }
    Ok(())
}

#[test]
fn scores_where_something_is_learned_give_the_loss_over_all_labels() -> Result<()> {
    let (model, _) = model(&config(16), 1)?;
    let examples = [
        TokenizedExample { ids: vec![9, 3, 4, 5, 0], prompt_len: 2 },
        TokenizedExample { ids: vec![7, 8, 0], prompt_len: 1 },
        TokenizedExample { ids: vec![1, 2, 3], prompt_len: 3 }, // nothing to learn
    ];
    let batch = SftBatch::padded(&examples, &CPU)?;
    let labels: Vec<i64> = examples
        .iter()
        .flat_map(|example| example.labels().chain([IGNORE_INDEX; 4]).take(4))
        .collect();
    let labels = candle_core::Tensor::from_vec(labels, (3, 4), &CPU)?;
    let all = cross_entropy(&model.forward(&batch.inputs)?, &labels)?;
    assert_close(&batch.loss(&model)?, &all, 1e-6)?;
    Ok(())
}

#[test]
fn a_batch_without_a_target_has_loss_0_and_not_nan() -> Result<()> {
    let (model, _) = model(&config(16), 1)?;
    let nothing =
        SftBatch::padded(&[TokenizedExample { ids: vec![1, 2, 3], prompt_len: 3 }], &CPU)?;
    assert_eq!(nothing.n_targets(), 0);
    assert_eq!(nothing.loss(&model)?.to_scalar::<f32>()?, 0.);
    Ok(())
}
