use std::num::NonZeroUsize;

use anyhow::{Result, bail};
use candle_core::DType;
use model_io::model_folder::SpecialTokenIds;
use model_io::{
    AddGenerationPrompt, ChatTemplate, SlidingWindow, Tokenizer, TokenizerSpecialTokens,
};
use tensor_core::Rng;
use tiny_gpt::ByteTokenizer;

use super::{fresh, tiny};
use crate::sampler::{Sampler, SamplingStrategy};
use crate::{CacheKind, Chat, Checkpoint, GenerateConfig, GptModern, generate};

/// Byte-level model with random weights and the `ChatML` template.
fn checkpoint() -> Result<Checkpoint> {
    let config = model_io::ModelConfig { vocab_size: 256, context_len: 300, ..tiny() };
    let (_, parameters) = fresh(&config, DType::F64)?;
    Ok(Checkpoint {
        model: GptModern::new(&config, parameters.for_inference().root())?,
        parameters,
        tokenizer: Tokenizer::from_json(
            ByteTokenizer.to_json(),
            TokenizerSpecialTokens::default(),
        )?,
        special_ids: SpecialTokenIds::default(),
        sampler: None,
        chat_template: Some(ChatTemplate::chatml()?),
    })
}

fn greedy_config(model: &GptModern, cache_kind: CacheKind) -> GenerateConfig {
    let greedy = Sampler::new(SamplingStrategy::Greedy);
    GenerateConfig { cache_kind, ..GenerateConfig::new(model, greedy, 9, Vec::new()) }
}

#[test]
fn a_reply_equals_that_to_the_whole_conversation() -> Result<()> {
    let checkpoint = checkpoint()?;
    let Checkpoint { model, tokenizer, chat_template: Some(template), .. } = &checkpoint else {
        unreachable!("it has a template")
    };
    for cache_kind in
        [CacheKind::Full, CacheKind::SlidingWindow(SlidingWindow { size: 24, sinks: 3 })]
    {
        let config = greedy_config(model, cache_kind);
        let mut chat = Chat::new(&checkpoint, config.clone(), Some("Be brief."), Rng::new(1))?;
        let mut previous_len = 0;
        for question in ["Hi.", "Why?", "And then?"] {
            let mut streamed = String::new();
            let reply = chat.send_message(question, |text| {
                streamed.push_str(text);
                Ok(())
            })?;
            assert_eq!(streamed, reply.text);
            let conversation = &chat.messages()[..chat.messages().len() - 1];
            let ids = template.encode(tokenizer, conversation, AddGenerationPrompt::Yes)?.tokens;
            let len = ids.len();
            let uncached = generate(model, &[ids], &config, &mut Rng::new(1), |_, _| Ok(()))?;
            assert_eq!(reply.completion.tokens, uncached[0].tokens, "{cache_kind:?}, {question}");
            if cache_kind == CacheKind::Full {
                assert!(
                    reply.n_prefill_tokens <= len - previous_len,
                    "{question}: {} prefilled of {len}",
                    reply.n_prefill_tokens
                );
            }
            previous_len = len;
        }
    }
    Ok(())
}

#[test]
fn prompt_lookup_does_not_change_a_conversation() -> Result<()> {
    let checkpoint = checkpoint()?;
    let plain = greedy_config(&checkpoint.model, CacheKind::Full);
    let lookup = GenerateConfig { prompt_lookup_num_tokens: NonZeroUsize::new(5), ..plain.clone() };
    let mut conversations = Vec::new();
    for config in [plain, lookup] {
        let mut chat = Chat::new(&checkpoint, config, None, Rng::new(1))?;
        let mut replies = Vec::new();
        for question in ["Hi.", "Hi again.", "Hi again."] {
            let reply = chat.send_message(question, |_| Ok(()))?;
            replies.push((reply.text, reply.n_prefill_tokens, reply.completion.tokens));
        }
        conversations.push(replies);
    }
    assert_eq!(conversations[0], conversations[1]);
    Ok(())
}

#[test]
fn a_message_beyond_the_context_is_not_added() -> Result<()> {
    let checkpoint = checkpoint()?;
    let config = greedy_config(&checkpoint.model, CacheKind::Full);
    let mut chat = Chat::new(&checkpoint, config, None, Rng::new(1))?;
    chat.send_message("Hi.", |_| Ok(()))?;
    let error = chat
        .send_message(&"long ".repeat(60), |_| Ok(()))
        .expect_err("it does not fit")
        .to_string();
    assert!(error.contains("the model's context is 300"), "{error}");
    assert_eq!(chat.messages().len(), 2);
    chat.send_message("Why?", |_| Ok(()))?;
    assert_eq!(chat.messages().len(), 4);
    Ok(())
}

#[test]
fn a_callback_error_ends_the_reply_and_adds_no_message() -> Result<()> {
    let checkpoint = checkpoint()?;
    let config = greedy_config(&checkpoint.model, CacheKind::Full);
    let mut chat = Chat::new(&checkpoint, config, None, Rng::new(1))?;
    let first = chat.send_message("Hi.", |_| Ok(()))?;
    let config = greedy_config(&checkpoint.model, CacheKind::Full);
    let mut chat = Chat::new(&checkpoint, config, None, Rng::new(1))?;
    let mut n_calls = 0;
    let result = chat.send_message("Hi.", |_| {
        n_calls += 1;
        bail!("gone")
    });
    assert_eq!((super::error(result), n_calls, chat.messages().len()), ("gone".into(), 1, 0));
    assert_eq!(chat.send_message("Hi.", |_| Ok(()))?.text, first.text);
    Ok(())
}

#[test]
fn a_chat_without_a_chat_template_is_refused() -> Result<()> {
    let checkpoint = Checkpoint { chat_template: None, ..checkpoint()? };
    let config = greedy_config(&checkpoint.model, CacheKind::Full);
    let error = Chat::new(&checkpoint, config, None, Rng::new(1)).err().expect("an error");
    assert!(error.to_string().contains("no chat template"), "{error}");
    Ok(())
}
