use anyhow::{Result, bail};
use candle_core::DType;
use tensor_core::Rng;
use tiny_gpt::ByteTokenizer;

use super::{fresh, tiny};
use crate::model_folder::SpecialTokenIds;
use crate::sampler::{Sampler, SamplingStrategy};
use crate::tokenizer_config::TokenizerSpecialTokens;
use crate::{
    AddGenerationPrompt, CacheKind, Chat, ChatTemplate, Checkpoint, GenerateConfig, GptModern,
    SlidingWindow, Tokenizer, generate,
};

/// A model of bytes with random weights, whose chats are written in `ChatML`.
fn checkpoint() -> Result<Checkpoint> {
    let config = crate::ModelConfig { vocab_size: 256, context_len: 300, ..tiny() };
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

fn settings(model: &GptModern, memory: CacheKind) -> GenerateConfig {
    let greedy = Sampler::new(SamplingStrategy::Greedy);
    GenerateConfig { cache_kind: memory, ..GenerateConfig::new(model, greedy, 9, Vec::new()) }
}

#[test]
fn a_reply_is_that_to_the_whole_conversation() -> Result<()> {
    let checkpoint = checkpoint()?;
    let Checkpoint { model, tokenizer, chat_template: Some(template), .. } = &checkpoint else {
        unreachable!("it has a template")
    };
    for memory in [CacheKind::Full, CacheKind::SlidingWindow(SlidingWindow { size: 24, sinks: 3 })]
    {
        let config = settings(model, memory);
        let mut chat = Chat::new(&checkpoint, config.clone(), Some("Be brief."), Rng::new(1))?;
        let mut before = 0;
        for question in ["Hi.", "Why?", "And then?"] {
            let mut shown = String::new();
            let reply = chat.send_message(question, |text| {
                shown.push_str(text);
                Ok(())
            })?;
            assert_eq!(shown, reply.text);
            let conversation = &chat.messages()[..chat.messages().len() - 1];
            let whole = template.encode(tokenizer, conversation, AddGenerationPrompt::Yes)?.tokens;
            let len = whole.len();
            let alone = generate(model, &[whole], &config, &mut Rng::new(1), |_, _| Ok(()))?;
            assert_eq!(reply.completion.tokens, alone[0].tokens, "{memory:?}, {question}");
            if memory == CacheKind::Full {
                assert!(
                    reply.n_prefill_tokens <= len - before,
                    "{question}: {} read of {len}",
                    reply.n_prefill_tokens
                );
            }
            before = len;
        }
    }
    Ok(())
}

#[test]
fn what_no_longer_fits_was_not_said() -> Result<()> {
    let checkpoint = checkpoint()?;
    let config = settings(&checkpoint.model, CacheKind::Full);
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
fn a_reply_that_nobody_reads_ends_and_was_not_said() -> Result<()> {
    let checkpoint = checkpoint()?;
    let config = settings(&checkpoint.model, CacheKind::Full);
    let mut chat = Chat::new(&checkpoint, config, None, Rng::new(1))?;
    let first = chat.send_message("Hi.", |_| Ok(()))?;
    let again =
        Chat::new(&checkpoint, settings(&checkpoint.model, CacheKind::Full), None, Rng::new(1));
    let (mut chat, mut told) = (again?, 0);
    let gone = chat.send_message("Hi.", |_| {
        told += 1;
        bail!("gone")
    });
    assert_eq!((super::error(gone), told, chat.messages().len()), ("gone".into(), 1, 0));
    assert_eq!(chat.send_message("Hi.", |_| Ok(()))?.text, first.text);
    Ok(())
}

#[test]
fn a_model_without_a_template_does_not_chat() -> Result<()> {
    let checkpoint = Checkpoint { chat_template: None, ..checkpoint()? };
    let config = settings(&checkpoint.model, CacheKind::Full);
    let error = Chat::new(&checkpoint, config, None, Rng::new(1)).err().expect("an error");
    assert!(error.to_string().contains("no chat template"), "{error}");
    Ok(())
}
