//! 6.2: a reply is learned as its chat template writes it. The expected texts are those that
//! transformers' `apply_chat_template` renders with the templates of the models named.

use anyhow::Result;
use datasets::ExampleColumns;
use model_io::{ChatMessage, ChatTemplate, SkipSpecialTokens};
use serde_json::{Value, json};

use super::conversation::{CHATML_TOKENS, LLAMA_3, learned, with_template};
use crate::{ChatTokenizer, ReplyForm, TokenizedExample, tokenize};

/// Template that writes these conversations as Qwen3's does; with `<think>⏎` at OPEN, as that of
/// its thinking models.
const QWEN_3: &str = r#"{% for m in messages %}{{ '<|im_start|>' + m.role + '\n' }}{%
    if m.role == 'assistant' and loop.last %}{{ '<think>\n' + m.reasoning_content | default('') +
    '\n</think>\n\n' }}{% endif %}{{ m.content }}{% for call in m.tool_calls | default([]) %}{{
    ('\n' if m.content else '') + '<tool_call>\n{"name": "' + call.name +
    '", "arguments": ' + call.arguments | tojson + '}\n</tool_call>' }}{%
    endfor %}{{ '<|im_end|>\n' }}{% endfor %}{%
    if add_generation_prompt %}{{ '<|im_start|>assistant\nOPEN' }}{% endif %}"#;

/// Template like DeepSeek-R1's, whose generation prompt opens a block that no message has.
const R1: &str = r"{% for m in messages %}{{ '<|User|>' + m.content if m.role == 'user'
    else '<|Assistant|>' + m.content + eos_token }}{% endfor %}{%
    if add_generation_prompt %}{{ '<|Assistant|><think>\n' }}{% endif %}";

/// Template like that of GLM-4.5, which writes nothing after a message.
const GLM: &str = r"{% for m in messages %}{{ '<|' + m.role + '|>\n' }}{%
    if m.role == 'assistant' %}{{ '<think></think>\n' }}{% endif %}{{ m.content }}{% endfor %}{%
    if add_generation_prompt %}{{ '<|assistant|>' }}{% endif %}";

/// Tools as Qwen3's template writes them first, and a thinking block that an argument closes.
const TOOLS: &str = r"{% for tool in tools or [] %}{{ tool | tojson + '\n' }}{% endfor %}{%
    for m in messages %}{{ '<|im_start|>' + m.role + '\n' + m.content + '<|im_end|>\n' }}{%
    endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{%
    if enable_thinking is defined and not enable_thinking %}{{ '<think>\n\n</think>\n\n' }}{%
    endif %}{% endif %}";

fn with_source(source: &str, tokens: &[&str]) -> Result<ChatTokenizer> {
    with_template(|tokenizer| ChatTemplate::new(source, tokenizer), tokens)
}

fn qwen_3(opening: &str) -> Result<ChatTokenizer> {
    with_source(&QWEN_3.replace("OPEN", opening), &CHATML_TOKENS)
}

/// Prompt and reply of a row with a question and this last message, as texts.
fn prompt_and_reply(chat_tokenizer: &ChatTokenizer, message: &Value) -> Result<[String; 2]> {
    let question = json!({ "role": "user", "content": "2+2?" });
    let row = json!({ "messages": [question, message] });
    let example = ExampleColumns::detect(&row)?.parse_row(&row)?;
    let tokens = TokenizedExample::from_example(&example, chat_tokenizer)?.remove(0);
    let start = tokens.target_spans[0].start;
    assert_eq!((tokens.target_spans.len(), tokens.target_spans[0].end), (1, tokens.ids.len()));
    let (prompt, reply) = tokens.ids.split_at(start);
    let text = |ids: &[u32]| chat_tokenizer.tokenizer.decode(ids, SkipSpecialTokens::No);
    Ok([text(prompt)?, text(reply)?])
}

fn plain() -> Value {
    json!({ "role": "assistant", "content": "6" })
}

fn reasoning() -> Value {
    json!({ "role": "assistant", "reasoning_content": "three", "content": "6" })
}

fn tool_call(content: &str) -> Value {
    let call = json!({ "name": "get", "arguments": { "c": 1 } });
    json!({ "role": "assistant", "content": content, "tool_calls": [call] })
}

#[test]
fn a_reply_has_its_reasoning_and_its_calls_of_tools() -> Result<()> {
    let chat_tokenizer = qwen_3("")?;
    for (message, expected) in [
        (plain(), "<think>\n\n</think>\n\n6<|im_end|>"),
        (reasoning(), "<think>\nthree\n</think>\n\n6<|im_end|>"),
        (
            tool_call("Sure"),
            "<think>\n\n</think>\n\nSure\n<tool_call>\n{\"name\": \"get\", \"arguments\": \
             {\"c\": 1}}\n</tool_call><|im_end|>",
        ),
        (
            tool_call(""),
            "<think>\n\n</think>\n\n<tool_call>\n{\"name\": \"get\", \"arguments\": \
             {\"c\": 1}}\n</tool_call><|im_end|>",
        ),
    ] {
        let [prompt, reply] = prompt_and_reply(&chat_tokenizer, &message)?;
        assert!(prompt.ends_with("<|im_start|>assistant\n"), "{prompt}");
        assert_eq!(reply, expected);
    }
    Ok(())
}

#[test]
fn a_reply_closes_the_block_that_the_generation_prompt_opens() -> Result<()> {
    let chat_tokenizer = qwen_3(r"<think>\n")?;
    for (message, expected) in
        [(plain(), "\n</think>\n\n6<|im_end|>"), (reasoning(), "three\n</think>\n\n6<|im_end|>")]
    {
        let [prompt, reply] = prompt_and_reply(&chat_tokenizer, &message)?;
        assert!(prompt.ends_with("<|im_start|>assistant\n<think>\n"), "{prompt}");
        assert_eq!(reply, expected);
    }
    // The tokens before it are those that the model sees when it generates.
    let question = [ChatMessage::user("2+2?")];
    let reply = chat_tokenizer.encode_reply(&question, &ChatMessage::assistant("6"))?;
    assert_eq!(reply.prompt, chat_tokenizer.encode_prompt(&question)?);
    Ok(())
}

#[test]
fn a_reply_without_the_block_of_the_generation_prompt_follows_its_header() -> Result<()> {
    let chat_tokenizer = with_source(R1, &["<|User|>", "<|Assistant|>"])?;
    let [prompt, reply] = prompt_and_reply(&chat_tokenizer, &plain())?;
    assert_eq!((prompt.as_str(), reply.as_str()), ("<|User|>2+2?<|Assistant|>", "6</s>"));
    Ok(())
}

#[test]
fn a_reply_that_no_token_of_the_template_ends_gets_eos() -> Result<()> {
    let chat_tokenizer = with_source(GLM, &["<|user|>", "<|assistant|>"])?;
    let [prompt, reply] = prompt_and_reply(&chat_tokenizer, &plain())?;
    assert!(prompt.ends_with("2+2?<|assistant|>"), "{prompt}");
    assert_eq!(reply, "\n<think></think>\n6</s>");
    Ok(())
}

/// The template of gpt-oss ends a call of a tool with another token, after messages of one reply
/// that `<|end|>` divides.
#[test]
fn a_call_of_a_tool_ends_with_the_stop_token_that_the_template_writes() -> Result<()> {
    let source = "{% for m in messages %}{{ '<|start|>' + m.content }}\
                  {% if m.tool_calls %}{{ '<|end|><|start|>' + m.tool_calls[0].name + '<|call|>' }}\
                  {% else %}{{ '<|return|>' }}{% endif %}{% endfor %}\
                  {% if add_generation_prompt %}{{ '<|start|>' }}{% endif %}";
    let names = ["<|start|>", "<|end|>", "<|call|>", "<|return|>"];
    for (n_stops, expected) in
        [(1, "Sure<|end|><|start|>get<|call|><|return|>"), (3, "Sure<|end|><|start|>get<|call|>")]
    {
        let ChatTokenizer { tokenizer, template, .. } = with_source(source, &names)?;
        let stops = ["<|return|>", "<|call|>", "<|end|>"].map(|name| tokenizer.token_to_id(name));
        let stops = stops.into_iter().flatten().take(n_stops).collect();
        let chat_tokenizer = ChatTokenizer::new(tokenizer, template, stops)?;
        assert_eq!(prompt_and_reply(&chat_tokenizer, &tool_call("Sure"))?[1], expected);
        assert_eq!(prompt_and_reply(&chat_tokenizer, &plain())?[1], "6<|return|>");
    }
    Ok(())
}

/// Cohere2's template ends a message with two tokens, of which the second is EOS.
#[test]
fn a_reply_ends_with_eos_where_two_tokens_end_a_turn() -> Result<()> {
    let source = "{% for m in messages %}{{ '<|START|>' + m.content + '<|END|></s>' }}{% endfor %}\
                  {% if add_generation_prompt %}{{ '<|START|>' }}{% endif %}";
    let chat_tokenizer = with_source(source, &["<|START|>", "<|END|>"])?;
    assert_eq!(prompt_and_reply(&chat_tokenizer, &plain())?[1], "6<|END|></s>");
    Ok(())
}

#[test]
fn where_the_template_writes_the_content_alone_its_tokens_stay_those_of_the_text() -> Result<()> {
    let llama_3 =
        with_source(LLAMA_3, &["<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>"])?;
    let chatml = with_template(|_| ChatTemplate::chatml(), &CHATML_TOKENS)?;
    let question = [ChatMessage::user("2+2?")];
    for chat_tokenizer in [llama_3, chatml] {
        for content in ["19", " the answer \n", "<|im_end|>", ""] {
            let reply = chat_tokenizer.encode_reply(&question, &ChatMessage::assistant(content))?;
            let mut tokens = chat_tokenizer.encode_completion_without_eos(content)?;
            tokens.push(chat_tokenizer.eos_token_id());
            assert_eq!((reply.tokens, reply.form), (tokens, ReplyForm::Content), "{content:?}");
            assert_eq!(reply.prompt, chat_tokenizer.encode_prompt(&question)?);
        }
    }
    Ok(())
}

#[test]
fn an_earlier_turn_that_loses_its_reasoning_is_an_example_of_its_own() -> Result<()> {
    let chat_tokenizer = qwen_3("")?;
    let mut first = reasoning();
    first["reasoning_content"] = json!("one");
    let user = |text: &str| json!({ "role": "user", "content": text });
    let row = json!({ "messages": [user("1?"), first, user("2+2?"), reasoning()] });
    let example = ExampleColumns::detect(&row)?.parse_row(&row)?;
    let examples = tokenize(&[example], &chat_tokenizer, 1000)?.examples;
    let turns = examples.iter().map(|tokens| learned(tokens, &chat_tokenizer));
    let turns = turns.collect::<Result<Vec<_>>>()?;
    let [one, three] =
        ["one", "three"].map(|why| format!("<think>\n{why}\n</think>\n\n6<|im_end|>"));
    assert_eq!(turns, [vec![one], vec![three]]);
    Ok(())
}

#[test]
fn a_row_gives_its_tools_and_arguments_to_the_template() -> Result<()> {
    let chat_tokenizer = with_source(TOOLS, &CHATML_TOKENS)?;
    let tools = json!([{ "type": "function", "function": { "name": "get", "a": "<|im_end|>" } }]);
    let tool = r#"{"type": "function", "function": {"name": "get", "a": "<|im_end|>"}}"#;
    let question = "<|im_start|>user\n2+2?<|im_end|>\n<|im_start|>assistant\n";
    let no_thoughts = json!({ "enable_thinking": false });
    for (row_tools, arguments, expected) in [
        (tools.clone(), Value::Null, format!("{tool}\n{question}")),
        (json!(tools.to_string()), Value::Null, format!("{tool}\n{question}")),
        (json!([]), Value::Null, question.to_string()),
        (Value::Null, no_thoughts.clone(), format!("{question}<think>\n\n</think>\n\n")),
        (tools, no_thoughts, format!("{tool}\n{question}<think>\n\n</think>\n\n")),
    ] {
        let row = json!({ "messages": [{ "role": "user", "content": "2+2?" }, plain()],
            "tools": row_tools, "chat_template_kwargs": arguments });
        let example = ExampleColumns::detect(&row)?.parse_row(&row)?;
        let prompt = chat_tokenizer.encode_prompt(&example.prompt)?;
        let text = chat_tokenizer.tokenizer.decode(&prompt, SkipSpecialTokens::No)?;
        assert_eq!(text, expected);
        let n_ends = prompt.iter().filter(|&&id| id == chat_tokenizer.eos_token_id()).count();
        assert_eq!(n_ends, 1, "a tool cannot end a turn");
        let tokens = TokenizedExample::from_example(&example, &chat_tokenizer)?;
        assert_eq!(tokens[0].ids.starts_with(&prompt), arguments.is_null());
    }
    Ok(())
}

#[test]
fn the_expected_completion_of_an_evaluation_is_the_rendered_one() -> Result<()> {
    let (chat_tokenizer, question) = (qwen_3("")?, [ChatMessage::user("2+2?")]);
    let reply = ChatMessage::assistant("6");
    assert_eq!(chat_tokenizer.reply_text(&question, &reply)?, "<think>\n\n</think>\n\n6");
    let chatml = with_template(|_| ChatTemplate::chatml(), &CHATML_TOKENS)?;
    assert_eq!(chatml.reply_text(&question, &ChatMessage::assistant(" 6"))?, " 6");
    Ok(())
}

#[test]
fn what_a_template_would_drop_is_an_error() -> Result<()> {
    let chatml = with_template(|_| ChatTemplate::chatml(), &CHATML_TOKENS)?;
    for content in ["Sure", ""] {
        let error = prompt_and_reply(&chatml, &tool_call(content)).unwrap_err().to_string();
        assert!(error.contains("does not write the `tool_calls`"), "{error}");
    }
    let null = json!({ "role": "assistant", "content": "6", "tool_calls": null });
    assert_eq!(prompt_and_reply(&chatml, &null)?[1], "6<|im_end|>");
    // A template that writes other messages once a reply follows.
    let source = "{% for m in messages %}{{ '<|im_start|>' }}{{ m.content if loop.last else 'x' }}\
                  {{ '<|im_end|>' }}{% endfor %}\
                  {% if add_generation_prompt %}{{ '<|im_start|>' }}{% endif %}";
    let rewriting = with_source(source, &CHATML_TOKENS)?;
    assert_eq!(prompt_and_reply(&rewriting, &plain())?[1], "6<|im_end|>");
    let error = prompt_and_reply(&rewriting, &reasoning()).unwrap_err().to_string();
    assert!(error.contains("where the reply begins is not known"), "{error}");
    Ok(())
}
