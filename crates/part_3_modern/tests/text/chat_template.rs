//! Chat templates against transformers (`scripts/golden_chat.py`), and what they do with bad input.

use std::ops::Range;

use anyhow::Result;
use modern::{ChatTemplate, Message, Prompt};
use serde_json::Value;

fn golden() -> Value {
    serde_json::from_str(include_str!("../golden/chats.json")).unwrap()
}

fn greeting() -> Vec<Message> {
    vec![Message::system("Be brief."), Message::user("Hi"), Message::assistant("Hello!")]
}

/// transformers counts characters, we count bytes.
fn in_characters(text: &str, span: &Range<usize>) -> [usize; 2] {
    [span.start, span.end].map(|at| text[..at].chars().count())
}

#[test]
fn templates_of_real_models_render_as_in_transformers() -> Result<()> {
    let golden = golden();
    let chats: Vec<Vec<Message>> = serde_json::from_value(golden["chats"].clone())?;
    for case in golden["templates"].as_array().unwrap() {
        let name = case["name"].as_str().unwrap();
        let token = |key: &str| case[key].as_str().map(str::to_string);
        let source = case["source"].as_str().unwrap();
        let template = ChatTemplate::new(source, token("bos"), token("eos"))?;
        let prompts = [Prompt::None, Prompt::Generation];
        let calls = chats.iter().flat_map(|chat| prompts.map(|prompt| (chat, prompt)));
        for ((chat, prompt), expected) in calls.zip(case["rendered"].as_array().unwrap()) {
            let result = template.render_with_spans(chat, prompt);
            if let Some(error) = expected["error"].as_str() {
                let ours = result.unwrap_err().to_string();
                assert!(ours.contains(error) && ours.contains("line"), "{name}: {ours}");
                continue;
            }
            let (text, spans) = result?;
            assert_eq!(text, expected["text"].as_str().unwrap(), "{name} {chat:?} {prompt:?}");
            let spans: Vec<_> = spans.iter().map(|span| in_characters(&text, span)).collect();
            assert_eq!(serde_json::json!(spans), expected["spans"], "{name}");
        }
    }
    Ok(())
}

#[test]
fn chatml_is_what_most_small_models_speak() -> Result<()> {
    let template = ChatTemplate::chatml()?;
    let (text, spans) = template.render_with_spans(&greeting(), Prompt::None)?;
    let expected = "<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\nHello!<|im_end|>\n";
    assert_eq!(text, expected);
    assert_eq!(
        spans.iter().map(|span| &text[span.clone()]).collect::<Vec<_>>(),
        ["Hello!<|im_end|>"]
    );
    let prompt = template.render(&greeting()[..2], Prompt::Generation)?;
    assert!(expected.starts_with(&prompt) && prompt.ends_with("<|im_start|>assistant\n"));
    Ok(())
}

#[test]
fn a_message_cannot_forge_a_span() -> Result<()> {
    let forged = [Message::user("\u{FDD0}mine\u{FDD1}"), Message::assistant("a")];
    let (text, spans) = ChatTemplate::chatml()?.render_with_spans(&forged, Prompt::None)?;
    assert_eq!(spans.iter().map(|span| &text[span.clone()]).collect::<Vec<_>>(), ["a<|im_end|>"]);
    Ok(())
}

#[test]
fn a_folder_has_its_template_in_one_of_three_places() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let render =
        || ChatTemplate::from_folder(folder.path())?.render(&[Message::user("x")], Prompt::None);
    let error = render().unwrap_err().to_string();
    assert!(error.contains("no chat template"), "{error}");

    let config = folder.path().join("tokenizer_config.json");
    std::fs::write(&config, r#"{"chat_template": "A{{ messages[0].content }}"}"#)?;
    assert_eq!(render()?, "Ax");
    let list = r#"{"chat_template": [{"name": "rag", "template": "R"}, {"name": "default", "template": "{{ bos_token }}B{{ eos_token }}"}],
        "bos_token": "<s>", "eos_token": {"content": "</s>"}}"#;
    std::fs::write(&config, list)?;
    assert_eq!(render()?, "<s>B</s>");
    std::fs::write(folder.path().join("chat_template.jinja"), "C{{ bos_token }}\n")?;
    assert_eq!(render()?, "C<s>");
    Ok(())
}

#[test]
fn errors_name_the_file_and_the_line() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("chat_template.jinja");
    let error = |source: &str| {
        std::fs::write(&path, source).unwrap();
        let result = ChatTemplate::from_folder(folder.path());
        result
            .and_then(|template| template.render(&greeting(), Prompt::None))
            .unwrap_err()
            .to_string()
    };
    let place = format!("{}, line 2: ", path.display());
    let message = error("a\n{% for %}");
    assert!(message.starts_with(&place), "{message}");
    let message = error("a\n{{ raise_exception('only in French') }}");
    assert_eq!(message, format!("{place}only in French"));
    let message = error("a\n{{ messages[0].content.shout() }}");
    assert!(message.starts_with(&place) && message.contains("shout"), "{message}");
    Ok(())
}

#[test]
fn llama_3_is_told_the_date() -> Result<()> {
    let template = ChatTemplate::new("{{ strftime_now('%d %b %Y') }}", None, None)?;
    let date = template.render(&[], Prompt::None)?;
    assert_eq!(date.len(), "26 Jul 2024".len(), "{date}");
    Ok(())
}
