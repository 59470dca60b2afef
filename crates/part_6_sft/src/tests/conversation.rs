//! 6.2: the assistant's turns of a conversation are learned as they are generated.

use anyhow::Result;
use datasets::{AssistantTurns, Example, ExampleColumns};
use model_io::model_folder::SpecialTokenIds;
use model_io::{AddGenerationPrompt, ChatMessage, ChatTemplate, SkipSpecialTokens};
use serde_json::json;
use tensor_core::testing::assert_close;

use super::template::with_added_tokens;
use super::{CPU, chat_tokenizer, config, model};
use crate::evaluation::GenerationEvalConfig;
use crate::{ChatFormat, ChatTokenizer, SftBatch, TokenizedExample, evaluate, tokenize};

pub(super) const LLAMA_3: &str = r"{% for m in messages %}{{
    '<|start_header_id|>' + m['role'] + '<|end_header_id|>\n\n' + m['content'] | trim + '<|eot_id|>'
    }}{% endfor %}{% if add_generation_prompt %}{{
    '<|start_header_id|>assistant<|end_header_id|>\n\n' }}{% endif %}";

/// `ChatML` of a model that thinks: earlier turns lose their reasoning, and may call tools.
const REASONING: &str = r"{% for m in messages %}{{ '<|im_start|>' + m.role + '\n' }}{%
    if m.tool_calls %}{{ '<call>' + m.tool_calls[0].name }}{%
    elif loop.last %}{{ m.content }}{%
    else %}{{ m.content.split('</think>')[-1] }}{% endif %}{{ '<|im_end|>\n' }}{%
    endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}";

pub(super) const CHATML_TOKENS: [&str; 2] = ["<|im_start|>", "<|im_end|>"];

pub(super) fn with_template(
    template: impl FnOnce(&model_io::Tokenizer) -> Result<ChatTemplate>,
    tokens: &[&str],
) -> Result<ChatTokenizer> {
    let tokenizer = with_added_tokens(tokens, true)?;
    let template = template(&tokenizer)?;
    let mut special = SpecialTokenIds { bos: None, eos: tokenizer.eos().into_iter().collect() };
    ChatTokenizer::from_tokenizer(tokenizer, Some(template), None, &mut special)
}

fn chatml() -> Result<ChatTokenizer> {
    with_template(|_| ChatTemplate::chatml(), &CHATML_TOKENS)
}

fn llama_3() -> Result<ChatTokenizer> {
    let tokens = ["<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>"];
    with_template(|tokenizer| ChatTemplate::new(LLAMA_3, tokenizer), &tokens)
}

fn reasoning() -> Result<ChatTokenizer> {
    with_template(|tokenizer| ChatTemplate::new(REASONING, tokenizer), &CHATML_TOKENS)
}

/// Three turns of the user and the assistant.
fn conversation() -> Example {
    let prompt = vec![
        ChatMessage::system("Be short."),
        ChatMessage::user("Hi"),
        ChatMessage::assistant(" Hello"),
        ChatMessage::user("2 + 2?"),
        ChatMessage::assistant("4"),
        ChatMessage::user("3 + 3?"),
    ];
    Example { prompt, ..Example::new("", "6") }
}

/// Text of each span of targets.
pub(super) fn learned(
    tokens: &TokenizedExample,
    chat_tokenizer: &ChatTokenizer,
) -> Result<Vec<String>> {
    let spans = tokens.target_spans.iter().map(|span| &tokens.ids[span.clone()]);
    spans.map(|ids| chat_tokenizer.tokenizer.decode(ids, SkipSpecialTokens::No)).collect()
}

#[test]
fn every_turn_is_learned_with_its_end_of_turn_token_and_nothing_else() -> Result<()> {
    let mut example = conversation();
    for (chat_tokenizer, turns) in [
        (chatml()?, [" Hello<|im_end|>", "4<|im_end|>", "6<|im_end|>"]),
        (llama_3()?, ["Hello<|eot_id|>", "4<|eot_id|>", "6<|eot_id|>"]),
        (chat_tokenizer(ChatFormat::Instruction)?, [" Hello</s>", "4</s>", "6</s>"]),
    ] {
        example.assistant_turns = AssistantTurns::All;
        let tokens = TokenizedExample::from_example(&example, &chat_tokenizer)?;
        assert_eq!(tokens.len(), 1, "one sequence");
        assert_eq!(learned(&tokens[0], &chat_tokenizer)?, turns);
        let labels = tokens[0].labels().filter(|&label| label >= 0).count();
        assert_eq!(labels, tokens[0].n_targets());
        let mask = tokens[0].render_loss_mask(&chat_tokenizer.tokenizer)?;
        let marks: usize = mask.matches('^').count();
        assert!(marks >= turns.concat().chars().count(), "{mask}");
        example.assistant_turns = AssistantTurns::Last;
        let last = TokenizedExample::from_example(&example, &chat_tokenizer)?;
        assert_eq!(learned(&last[0], &chat_tokenizer)?, turns[2..]);
        assert_eq!(last[0].ids, tokens[0].ids);
    }
    Ok(())
}

#[test]
fn the_spans_are_those_that_the_template_marks_as_generated() -> Result<()> {
    let (chat_tokenizer, example) = (chatml()?, conversation());
    let tokens = TokenizedExample::from_example(&example, &chat_tokenizer)?;
    let mut messages = example.prompt;
    messages.push(ChatMessage::assistant(example.completion));
    let (tokenizer, template) = (&chat_tokenizer.tokenizer, &chat_tokenizer.template);
    let marked = template.encode(tokenizer, &messages, AddGenerationPrompt::No)?;
    assert_eq!(tokens[0].target_spans, marked.assistant_spans);
    Ok(())
}

/// With any template, each turn is learned once, after the tokens that precede it in generation.
#[test]
fn a_turn_follows_the_prompt_that_the_model_will_see() -> Result<()> {
    let mut example = conversation();
    example.prompt[2].content = "<think>short</think>Hello".into();
    for (chat_tokenizer, n_sequences) in [
        (chatml()?, 1),
        (reasoning()?, 2),
        (chat_tokenizer(ChatFormat::Instruction)?, 1),
        (chat_tokenizer(ChatFormat::Plain)?, 1),
    ] {
        let examples = TokenizedExample::from_example(&example, &chat_tokenizer)?;
        assert_eq!(examples.len(), n_sequences);
        let mut spans = examples
            .iter()
            .flat_map(|tokens| tokens.target_spans.iter().map(move |span| (tokens, span)))
            .collect::<Vec<_>>();
        spans.sort_by_key(|(_, span)| span.start);
        for ((tokens, span), end) in spans.iter().zip([2, 4, 6]) {
            let prompt = chat_tokenizer.encode_prompt(&example.prompt[..end])?;
            assert_eq!(tokens.ids[..span.start], prompt);
        }
        let texts = spans.iter().map(|(tokens, span)| {
            let ids = &tokens.ids[span.start..span.end];
            chat_tokenizer.tokenizer.decode(ids, SkipSpecialTokens::Yes)
        });
        let texts = texts.collect::<Result<Vec<_>>>()?;
        assert_eq!(texts, ["<think>short</think>Hello", "4", "6"]);
    }
    // "Assistant: " and "Yes" are joined in the text of a conversation, and apart in a prompt.
    let dialogue = chat_tokenizer(ChatFormat::Dialogue)?;
    let examples = TokenizedExample::from_example(&example, &dialogue)?;
    let n_spans: usize = examples.iter().map(|tokens| tokens.target_spans.len()).sum();
    assert_eq!(n_spans, 3);
    Ok(())
}

#[test]
fn packed_and_padded_conversations_have_the_loss_of_their_turns_alone() -> Result<()> {
    let (chat_tokenizer, example) = (llama_3()?, conversation());
    let whole = TokenizedExample::from_example(&example, &chat_tokenizer)?;
    let turns = [(2, "Hello"), (4, "4"), (6, "6")].map(|(end, text)| {
        TokenizedExample::of_completion(&example.prompt[..end], text, &chat_tokenizer)
    });
    let turns = turns.into_iter().collect::<Result<Vec<_>>>()?;
    let mut config = config(128);
    config.vocab_size = chat_tokenizer.tokenizer.vocab_size();
    let (model, _) = model(&config, 1)?;
    let alone = SftBatch::padded(&turns, &CPU)?;
    for batch in [
        SftBatch::padded(&whole, &CPU)?,
        SftBatch::packed(&[&whole[..], &whole].concat(), 256, &CPU)?,
    ] {
        assert_eq!(batch.n_targets() % alone.n_targets(), 0);
        assert_close(&batch.loss(&model)?, &alone.loss(&model)?, 1e-5);
    }
    Ok(())
}

#[test]
fn a_conversation_that_is_too_long_keeps_its_first_turns() -> Result<()> {
    let chat_tokenizer = chatml()?;
    let whole = TokenizedExample::from_example(&conversation(), &chat_tokenizer)?.remove(0);
    let second = whole.target_spans[1].clone();
    // The second turn loses its end-of-turn token, and the third is outside.
    let data = tokenize(&[conversation()], &chat_tokenizer, second.end - 2)?;
    assert_eq!((data.n_truncated, data.n_skipped), (1, 0));
    assert_eq!(learned(&data.examples[0], &chat_tokenizer)?, [" Hello<|im_end|>", "4"]);
    let first = whole.target_spans[0].start;
    assert_eq!(tokenize(&[conversation()], &chat_tokenizer, first - 1)?.n_skipped, 1);
    Ok(())
}

#[test]
fn calls_of_tools_are_learned_as_the_template_writes_them() -> Result<()> {
    let mut example = conversation();
    let call = json!([{ "name": "add" }]);
    example.prompt[2].content.clear();
    example.prompt[2].fields.insert("tool_calls".into(), call);
    example.prompt[3].role = "tool".into();
    let chat_tokenizer = reasoning()?;
    let tokens = TokenizedExample::from_example(&example, &chat_tokenizer)?;
    let turns = ["<call>add<|im_end|>", "4<|im_end|>", "6<|im_end|>"];
    assert_eq!(learned(&tokens[0], &chat_tokenizer)?, turns);
    let source = REASONING.replace("if m.tool_calls", "if m.tool_calls and loop.last");
    let forgets = with_template(|tokenizer| ChatTemplate::new(&source, tokenizer), &CHATML_TOKENS)?;
    let examples = TokenizedExample::from_example(&example, &forgets)?;
    let turns = examples.iter().map(|tokens| learned(tokens, &forgets));
    let turns = turns.collect::<Result<Vec<_>>>()?;
    assert_eq!(turns, [vec!["<call>add<|im_end|>"], vec!["4<|im_end|>", "6<|im_end|>"]]);
    Ok(())
}

#[test]
fn greetings_before_the_first_question_and_blank_turns_are_not_learned() -> Result<()> {
    let (chat_tokenizer, mut example) = (chatml()?, conversation());
    example.prompt[0] = ChatMessage::assistant("Welcome");
    example.prompt[4].content = " ".into();
    let tokens = TokenizedExample::from_example(&example, &chat_tokenizer)?;
    assert_eq!(learned(&tokens[0], &chat_tokenizer)?, [" Hello<|im_end|>", "6<|im_end|>"]);
    Ok(())
}

/// Continued pretraining: rows of `text`.
#[test]
fn every_token_of_a_text_but_the_first_is_learned_once() -> Result<()> {
    let chat_tokenizer = chatml()?;
    let row = json!({ "text": "the answer of all 12 and 7 is 19. <|im_end|>" });
    let example = ExampleColumns::detect(&row)?.parse_row(&row)?;
    assert!(example.prompt.is_empty());
    let text = chat_tokenizer.encode_document(&example.completion)?;
    let eos = chat_tokenizer.tokenizer.eos();
    assert_eq!(text.last().copied(), eos, "the end of a document, not that of a turn");
    assert!(!text.contains(&chat_tokenizer.eos_token_id()), "typed text is not a special token");
    for context_len in [3, 4, text.len() - 1, 1000] {
        let data = tokenize(std::slice::from_ref(&example), &chat_tokenizer, context_len)?;
        assert_eq!((data.n_skipped, data.n_truncated), (0, 0));
        assert!(data.examples.iter().all(|tokens| tokens.inputs().len() <= context_len));
        let labels: Vec<i64> = data.examples.iter().flat_map(TokenizedExample::labels).collect();
        assert_eq!(labels, text[1..].iter().map(|&id| i64::from(id)).collect::<Vec<_>>());
    }
    let mut config = config(16);
    config.vocab_size = chat_tokenizer.tokenizer.vocab_size();
    let (model, _) = model(&config, 1)?;
    let eval_config = GenerationEvalConfig { batch_size: 2, max_new_tokens: 3, max_length: None };
    let (metrics, completions) = evaluate(&model, &[example], &chat_tokenizer, eval_config)?;
    assert!(metrics.loss > 0. && metrics.exact_match.is_nan() && completions.is_empty());
    let error = chat_tokenizer.encode_prompt(&[]).unwrap_err().to_string();
    assert!(error.contains("there is no prompt"), "{error}");
    Ok(())
}
