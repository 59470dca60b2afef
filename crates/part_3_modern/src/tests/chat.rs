use anyhow::{Result, bail};
use candle_core::DType;
use tensor_core::Rng;
use tiny_gpt::ByteTokenizer;

use super::{fresh, tiny};
use crate::model_folder::TextEnds;
use crate::sampler::{Choice, Sampler};
use crate::tokenizer_config::SpecialTokens;
use crate::{
    Chat, ChatTemplate, Checkpoint, GenerateConfig, GptModern, Memory, Prompt, Tokenizer, Window,
    generate,
};

/// A model of bytes with random weights, whose chats are written in `ChatML`.
fn checkpoint() -> Result<Checkpoint> {
    let config = crate::ModelConfig { vocab_size: 256, context: 300, ..tiny() };
    let (_, parameters) = fresh(&config, DType::F64)?;
    Ok(Checkpoint {
        model: GptModern::new(&config, parameters.for_inference().root())?,
        parameters,
        tokenizer: Tokenizer::from_json(ByteTokenizer.to_json(), SpecialTokens::default())?,
        ends: TextEnds::default(),
        sampler: None,
        template: Some(ChatTemplate::chatml()?),
    })
}

fn settings(model: &GptModern, memory: Memory) -> GenerateConfig {
    let greedy = Sampler::new(Choice::Greedy);
    GenerateConfig { memory, ..GenerateConfig::new(model, greedy, 9, Vec::new()) }
}

#[test]
fn a_reply_is_that_to_the_whole_conversation() -> Result<()> {
    let checkpoint = checkpoint()?;
    let Checkpoint { model, tokenizer, template: Some(template), .. } = &checkpoint else {
        unreachable!("it has a template")
    };
    for memory in [Memory::Whole, Memory::Rolling(Window { size: 24, sinks: 3 })] {
        let config = settings(model, memory);
        let mut chat = Chat::new(&checkpoint, config.clone(), Some("Be brief."), Rng::new(1))?;
        let mut before = 0;
        for question in ["Hi.", "Why?", "And then?"] {
            let mut shown = String::new();
            let reply = chat.say(question, |text| {
                shown.push_str(text);
                Ok(())
            })?;
            assert_eq!(shown, reply.text);
            let conversation = &chat.messages()[..chat.messages().len() - 1];
            let whole = template.encode(tokenizer, conversation, Prompt::Generation)?.tokens;
            let len = whole.len();
            let alone = generate(model, &[whole], &config, &mut Rng::new(1), |_, _| Ok(()))?;
            assert_eq!(reply.written.tokens, alone[0].tokens, "{memory:?}, {question}");
            if memory == Memory::Whole {
                assert!(reply.read <= len - before, "{question}: {} read of {len}", reply.read);
            }
            before = len;
        }
    }
    Ok(())
}

#[test]
fn what_no_longer_fits_was_not_said() -> Result<()> {
    let checkpoint = checkpoint()?;
    let config = settings(&checkpoint.model, Memory::Whole);
    let mut chat = Chat::new(&checkpoint, config, None, Rng::new(1))?;
    chat.say("Hi.", |_| Ok(()))?;
    let error = chat.say(&"long ".repeat(60), |_| Ok(())).expect_err("it does not fit").to_string();
    assert!(error.contains("the model's context is 300"), "{error}");
    assert_eq!(chat.messages().len(), 2);
    chat.say("Why?", |_| Ok(()))?;
    assert_eq!(chat.messages().len(), 4);
    Ok(())
}

#[test]
fn a_reply_that_nobody_reads_ends_and_was_not_said() -> Result<()> {
    let checkpoint = checkpoint()?;
    let config = settings(&checkpoint.model, Memory::Whole);
    let mut chat = Chat::new(&checkpoint, config, None, Rng::new(1))?;
    let first = chat.say("Hi.", |_| Ok(()))?;
    let again =
        Chat::new(&checkpoint, settings(&checkpoint.model, Memory::Whole), None, Rng::new(1));
    let (mut chat, mut told) = (again?, 0);
    let gone = chat.say("Hi.", |_| {
        told += 1;
        bail!("gone")
    });
    assert_eq!((super::error(gone), told, chat.messages().len()), ("gone".into(), 1, 0));
    assert_eq!(chat.say("Hi.", |_| Ok(()))?.text, first.text);
    Ok(())
}

#[test]
fn a_model_without_a_template_does_not_chat() -> Result<()> {
    let checkpoint = Checkpoint { template: None, ..checkpoint()? };
    let config = settings(&checkpoint.model, Memory::Whole);
    let error = Chat::new(&checkpoint, config, None, Rng::new(1)).err().expect("an error");
    assert!(error.to_string().contains("no chat template"), "{error}");
    Ok(())
}
