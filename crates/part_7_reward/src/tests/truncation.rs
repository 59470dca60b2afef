//! 7.1 Tokenized pairs: truncation on the left, batches, the hash of the data.

use anyhow::Result;
use datasets::Preference;
use model_io::{
    AddGenerationPrompt, AddSpecialTokens, ChatMessage, ChatTemplate, ParseSpecial,
    SkipSpecialTokens,
};
use sft::ChatTokenizer;

use super::{CPU, chat_tokenizer, checkpoint, tokenizer};
use crate::checkpoint::tokenize_conversation;
use crate::tokenized_pairs::pairs_sha256;
use crate::{PairBatch, RewardArchitecture, RewardCheckpoint, tokenize_pairs};

/// Chat tokenizer of a template like Qwen's: `<pad>` stands for `<|im_start|>`, EOS for
/// `<|im_end|>`, BEFORE is written before the assistant's text and AFTER after its EOS.
fn qwen_like(before: &str, after: &str) -> Result<ChatTokenizer> {
    let source = "{%- for m in messages -%}{{ '<pad>' + m.role + '\\n' }}\
                  {%- if m.role == 'assistant' -%}{{ 'BEFORE' }}{%- endif -%}\
                  {{ m.content + eos_token + 'AFTER' }}{%- endfor -%}\
                  {%- if add_generation_prompt -%}{{ '<pad>assistant\\n' }}{%- endif -%}";
    let (source, tokenizer) =
        (source.replace("BEFORE", before).replace("AFTER", after), tokenizer()?);
    let (template, eos) = (ChatTemplate::new(&source, &tokenizer)?, tokenizer.eos());
    ChatTokenizer::new(tokenizer, template, eos.into_iter().collect())
}

#[test]
fn a_reward_is_read_at_the_last_token_of_the_rendered_conversation() -> Result<()> {
    // What each template renders after the prompt: that of Qwen2.5, of Qwen3, and of Llama 3.
    for (before, after, expected) in [
        ("", r"\n", "19</s>\n"),
        (r"<think>\n\n</think>\n\n", r"\n", "<think>\n\n</think>\n\n19</s>\n"),
        ("", "", "19</s>"),
    ] {
        let chat_tokenizer = qwen_like(before, after)?;
        let prompt = [ChatMessage::user("What is 12 + 7?")];
        let ids = tokenize_conversation(&chat_tokenizer, &prompt, &ChatMessage::assistant("19"))?;
        let messages = [&prompt[..], &[ChatMessage::assistant("19")]].concat();
        let ChatTokenizer { tokenizer, template, .. } = &chat_tokenizer;
        let rendered = template.encode(tokenizer, &messages, AddGenerationPrompt::No)?.tokens;
        let text = |ids: &[u32]| tokenizer.decode(ids, SkipSpecialTokens::No);
        assert_eq!(text(&ids)?, text(&rendered)?);
        let prompt_text = text(&chat_tokenizer.encode_prompt(&prompt)?)?;
        assert_eq!(text(&ids)?.strip_prefix(&prompt_text), Some(expected));
        assert_eq!(ids.last() == tokenizer.eos().as_ref(), after.is_empty());
    }
    Ok(())
}

#[test]
fn where_nothing_more_is_rendered_the_completion_has_the_tokens_of_a_policy() -> Result<()> {
    // A template without markers, in which the tokens of the joined text cross the boundary.
    let tokenizer = tokenizer()?;
    let source = "{% for m in messages %}{{ m.content }}{% endfor %}\
                  {% if not add_generation_prompt %}{{ eos_token }}{% endif %}";
    let (template, eos) = (ChatTemplate::new(source, &tokenizer)?, tokenizer.eos());
    let chat_tokenizer = ChatTokenizer::new(tokenizer, template, eos.into_iter().collect())?;
    let (prompt, reply) = (ChatMessage::user("#"), ChatMessage::assistant("##"));
    let ids = tokenize_conversation(&chat_tokenizer, &[prompt], &reply)?;
    let encode =
        |text: &str| chat_tokenizer.tokenizer.encode(text, AddSpecialTokens::No, ParseSpecial::No);
    let parts = [encode("#")?, encode("##")?, eos.into_iter().collect()].concat();
    assert_eq!(ids, parts);
    assert_ne!(encode("###")?, [encode("#")?, encode("##")?].concat());
    Ok(())
}

#[test]
fn a_truncated_completion_is_read_without_an_end_token() -> Result<()> {
    let architecture = RewardArchitecture::CausalLastToken;
    let model = RewardCheckpoint::from_language_model(checkpoint(3)?, architecture, None, 7)?;
    let prompt = [ChatMessage::user("What is 12 + 7?")];
    let [whole, truncated] =
        [model.tokenize(&prompt, "1")?, model.tokenize_truncated(&prompt, "1")?];
    assert!(whole.contains(&model.chat_tokenizer.eos_token_id()));
    assert!(!truncated.contains(&model.chat_tokenizer.eos_token_id()));
    assert!(whole.starts_with(&truncated));
    let long = model.tokenize_truncated(&prompt, &"of all ".repeat(90))?;
    let mut texts = [long.clone(), truncated.clone()];
    assert_eq!(model.truncate_to_context(&mut texts), 1, "of two");
    let end = long[long.len() - 64..].to_vec();
    assert_eq!(texts, [end, truncated], "the last tokens that fit into the context");
    Ok(())
}

/// Preference with a prompt of hundreds of tokens.
fn long_preference(chosen: &str, rejected: &str) -> Preference {
    Preference::new("What is the answer of all? ".repeat(30), chosen, rejected)
}

#[test]
fn a_long_conversation_is_truncated_on_the_left() -> Result<()> {
    let tokenizer = chat_tokenizer()?;
    let preferences = [long_preference("19", "12"), Preference::new("7?", "19", "12")];
    let untruncated = tokenize_pairs(&preferences, &tokenizer, 10_000)?;
    let truncated = tokenize_pairs(&preferences, &tokenizer, 20)?;
    assert_eq!((truncated.pairs.len(), truncated.n_truncated, truncated.n_identical), (2, 1, 0));
    let (short, long) = (&truncated.pairs[0], &untruncated.pairs[0]);
    for (short, long) in [(&short.chosen, &long.chosen), (&short.rejected, &long.rejected)] {
        assert_eq!(short.len(), 20);
        assert!(long.ends_with(short), "the end of the text is kept");
        let end = short.iter().rposition(|id| *id == tokenizer.eos_token_id());
        assert!(end.is_some_and(|end| end > 15), "the line breaks of the template follow");
    }
    Ok(())
}

#[test]
fn pairs_that_truncation_makes_identical_are_dropped_and_counted() -> Result<()> {
    let ending = " of all".repeat(20);
    let pair = Preference::new("7?", format!("12{ending}"), format!("19{ending}"));
    let tokenizer = chat_tokenizer()?;
    let truncated = tokenize_pairs(std::slice::from_ref(&pair), &tokenizer, 16)?;
    assert_eq!((truncated.pairs.len(), truncated.n_truncated, truncated.n_identical), (0, 0, 1));
    assert_eq!(tokenize_pairs(&[pair], &tokenizer, 100)?.pairs.len(), 1);
    Ok(())
}

#[test]
fn a_batch_has_the_chosen_rows_first_then_the_rejected_rows() -> Result<()> {
    let preferences =
        [Preference::new("1?", "19", "12"), Preference::new("the answer?", "7", "of all")];
    let pairs = tokenize_pairs(&preferences, &chat_tokenizer()?, 64)?.pairs;
    let batch = PairBatch::from_pairs(&pairs.iter().collect::<Vec<_>>(), &CPU)?;
    let rows: Vec<Vec<u32>> = batch.ids.to_vec2()?;
    let expected = [&pairs[0].chosen, &pairs[1].chosen, &pairs[0].rejected, &pairs[1].rejected];
    assert_eq!((batch.n_pairs(), rows.len()), (2, 4));
    for ((row, length), expected) in rows.iter().zip(&batch.lengths).zip(expected) {
        assert_eq!(&row[..*length], &expected[..]);
    }
    assert_eq!(batch.n_tokens(), batch.lengths.iter().sum::<usize>());
    assert_eq!(pairs[1].completion_chars, [1, 6]);
    Ok(())
}

#[test]
fn the_hash_of_pairs_changes_with_either_completion() -> Result<()> {
    let tokenizer = chat_tokenizer()?;
    let hash = |chosen, rejected| -> Result<String> {
        let preferences = [Preference::new("7?", chosen, rejected)];
        Ok(pairs_sha256(tokenize_pairs(&preferences, &tokenizer, 64)?.pairs.iter()))
    };
    assert_eq!(hash("19", "12")?, hash("19", "12")?);
    let others = [hash("19", "7")?, hash("7", "12")?, hash("12", "19")?];
    assert!(!others.contains(&hash("19", "12")?));
    Ok(())
}
