//! 8.3: models that fit a policy as reference, and reward models with another tokenizer.

use anyhow::Result;
use datasets::Example;
use model_io::model_folder::SpecialTokenIds;
use model_io::{ModelConfig, Tokenizer};
use modern::{Checkpoint, FinishReason, GptModern};
use reward::{RewardArchitecture, RewardCheckpoint, RewardModel, RewardNormalization};
use sft::{ChatFormat, ChatTokenizer, bpe_tokenizer};
use tensor_core::{Parameters, Rng};

use super::CPU;
use super::small_run::{chat_tokenizer, model_config};
use crate::RewardInput;
use crate::reference::open_reference;
use crate::reward_model_fn::{reward_model_fn, tokenizer_note};
use crate::scoring_counter::ScoringCounter;

/// Tokenizer of the same size with other tokens.
fn other_tokens(like: &ChatTokenizer) -> Result<Tokenizer> {
    let text = "### Instruction:\nSome other words altogether, quite another vocabulary of 45\n";
    let size = like.tokenizer.vocab_size();
    let other = bpe_tokenizer::train_bpe([text; 4].into_iter(), size)?;
    assert_ne!(
        (0..size as u32).map(|id| other.id_to_token(id)).collect::<Vec<_>>(),
        (0..size as u32).map(|id| like.tokenizer.id_to_token(id)).collect::<Vec<_>>()
    );
    Ok(other)
}

#[test]
fn a_reference_needs_the_vocabulary_and_context_of_its_policy() -> Result<()> {
    let chat_tokenizer = chat_tokenizer()?;
    let config = model_config(&chat_tokenizer);
    let folder = tempfile::tempdir()?;
    let more = ModelConfig { vocab_size: config.vocab_size + 8, ..config };
    let short = ModelConfig { context_len: 12, ..config };
    let wide = ModelConfig { n_embd: 32, ..ModelConfig { context_len: 48, ..config } };
    for (config_of_other, tokenizer, expected) in [
        (more, chat_tokenizer.tokenizer.clone(), "has a vocabulary of"),
        (config, other_tokens(&chat_tokenizer)?, "has another tokenizer than the policy"),
        (short, chat_tokenizer.tokenizer.clone(), "a context of 12 tokens, the policy 24"),
        (wide, chat_tokenizer.tokenizer.clone(), ""),
    ] {
        let mut parameters = Parameters::seeded(1, candle_core::DType::F32, &CPU);
        let model = GptModern::new(&config_of_other, parameters.root())?;
        let ends = SpecialTokenIds::default();
        let other = Checkpoint {
            model,
            parameters,
            tokenizer,
            special_ids: ends,
            sampler: None,
            chat_template: None,
        };
        let path = folder.path().join(config_of_other.context_len.to_string() + expected);
        other.save(&path)?;
        match open_reference(&path.to_string_lossy(), &config, &chat_tokenizer.tokenizer, &CPU) {
            Ok(_) => assert!(expected.is_empty(), "{expected}"),
            Err(error) => {
                let error = format!("{error:#}");
                assert!(!expected.is_empty() && error.contains(expected), "{error} {expected}");
            }
        }
    }
    Ok(())
}

#[test]
fn a_reward_model_reads_text_through_its_own_tokenizer() -> Result<()> {
    let policy = chat_tokenizer()?;
    for (tokenizer, is_other) in [(policy.tokenizer.clone(), false), (other_tokens(&policy)?, true)]
    {
        let template = sft::template::chat_template(ChatFormat::Plain, &tokenizer, None)?;
        let end = tokenizer.eos().expect("an end");
        let chat_tokenizer = ChatTokenizer::new(tokenizer, template, vec![end])?;
        let mut parameters = Parameters::seeded(1, candle_core::DType::F32, &CPU);
        let model = RewardModel::new(
            &model_config(&chat_tokenizer),
            RewardArchitecture::CausalLastToken,
            &mut parameters,
        )?;
        let (ends, normalisation) = (SpecialTokenIds::default(), RewardNormalization::NONE);
        let reward_model = RewardCheckpoint {
            model,
            parameters,
            chat_tokenizer,
            special_ids: ends,
            normalization: normalisation,
        };
        let example = Example::new("What is 12 + 7?", "19");
        let texts = ["19", "45"];
        let ids = texts.map(|text| reward_model.tokenize(&example.prompt, text).expect("ids"));
        let expected = reward_model.rewards(&ids, 2)?;
        let long = "12 + 7 ".repeat(9);
        let mut end = [reward_model.tokenize(&example.prompt, &long)?];
        let context_len = model_config(&policy).context_len;
        assert!(end[0].len() > context_len, "{}", end[0].len());
        end[0].drain(..end[0].len() - context_len);
        let reward_of_end = reward_model.rewards(&end, 1)?;
        let counter = ScoringCounter::default();
        let note = tokenizer_note("runs/reward", &reward_model.chat_tokenizer, &policy);
        assert_eq!(note.is_some_and(|note| note.starts_with("runs/reward has another")), is_other);
        let mut reward_fn = reward_model_fn(reward_model, 2, counter.clone());
        let too_long =
            RewardInput { example: &example, completion: &long, finish_reason: FinishReason::Stop };
        assert_eq!(reward_fn(&[too_long], &mut Rng::new(0))?, reward_of_end);
        assert_eq!((counter.counts().n_read, counter.counts().n_truncated), (1, 1));
        let replies = texts.map(|text| RewardInput {
            example: &example,
            completion: text,
            finish_reason: FinishReason::Stop,
        });
        assert_eq!(reward_fn(&replies, &mut Rng::new(0))?, expected);
        assert_eq!((counter.counts().n_read, counter.counts().n_truncated), (3, 1));
        let truncated =
            replies.map(|reply| RewardInput { finish_reason: FinishReason::Length, ..reply });
        let rewards = reward_fn(&truncated, &mut Rng::new(0))?;
        assert!(rewards.iter().zip(&expected).all(|(cut, ended)| cut != ended), "no end is read");
    }
    Ok(())
}
