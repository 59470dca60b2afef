//! Chat templates: results compared with transformers (`scripts/golden_chat.py`), and bad input.

use std::ops::Range;

use anyhow::Result;
use model_io::{AddGenerationPrompt, ChatMessage, ChatTemplate, Tokenizer, TokenizerSpecialTokens};
use serde_json::{Value, json};

fn golden() -> Value {
    serde_json::from_str(include_str!("../golden/chats.json")).unwrap()
}

/// Tokenizer whose vocabulary is special tokens only; `special` names them.
fn tokenizer_with(bos: &str, eos: &str, special: TokenizerSpecialTokens) -> Tokenizer {
    let vocab = json!({ bos: 0, eos: 1, "<unk>": 2, "<pad>": 3 });
    let model = json!({ "type": "WordLevel", "vocab": vocab, "unk_token": "<unk>" });
    Tokenizer::from_json(json!({ "version": "1.0", "model": model }), special).unwrap()
}

/// Tokenizer with these BOS and EOS tokens.
fn tokenizer(bos: Option<&str>, eos: Option<&str>) -> Tokenizer {
    let special =
        TokenizerSpecialTokens { bos: bos.map(|_| 0), eos: eos.map(|_| 1), ..Default::default() };
    tokenizer_with(bos.unwrap_or("bos"), eos.unwrap_or("eos"), special)
}

fn greeting() -> Vec<ChatMessage> {
    vec![
        ChatMessage::system("Be brief."),
        ChatMessage::user("Hi"),
        ChatMessage::assistant("Hello!"),
    ]
}

/// Span in characters, as transformers counts, instead of bytes.
fn in_characters(text: &str, span: &Range<usize>) -> [usize; 2] {
    [span.start, span.end].map(|at| text[..at].chars().count())
}

#[test]
fn templates_of_real_models_render_as_in_transformers() -> Result<()> {
    let golden = golden();
    let chats: Vec<Vec<ChatMessage>> = serde_json::from_value(golden["chats"].clone())?;
    for case in golden["templates"].as_array().unwrap() {
        let name = case["name"].as_str().unwrap();
        let source = case["source"].as_str().unwrap();
        let tokenizer = tokenizer(case["bos"].as_str(), case["eos"].as_str());
        let template = ChatTemplate::new(source, &tokenizer)?;
        let prompts = [AddGenerationPrompt::No, AddGenerationPrompt::Yes];
        let calls = chats.iter().flat_map(|chat| prompts.map(|prompt| (chat, prompt)));
        for ((chat, prompt), expected) in calls.zip(case["rendered"].as_array().unwrap()) {
            let result = template.render_with_spans(chat, prompt);
            if let Some(error) = expected["error"].as_str() {
                let message = result.unwrap_err().to_string();
                assert!(message.contains(error) && message.contains("line"), "{name}: {message}");
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
fn chatml_renders_turns_with_their_assistant_spans() -> Result<()> {
    let template = ChatTemplate::chatml()?;
    let (text, spans) = template.render_with_spans(&greeting(), AddGenerationPrompt::No)?;
    let expected = "<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\nHi<|im_end|>\n\
        <|im_start|>assistant\nHello!<|im_end|>\n";
    assert_eq!(text, expected);
    assert_eq!(
        spans.iter().map(|span| &text[span.clone()]).collect::<Vec<_>>(),
        ["Hello!<|im_end|>"]
    );
    let prompt = template.render(&greeting()[..2], AddGenerationPrompt::Yes)?;
    assert!(expected.starts_with(&prompt) && prompt.ends_with("<|im_start|>assistant\n"));
    Ok(())
}

#[test]
fn a_message_cannot_forge_an_assistant_span() -> Result<()> {
    let forged = [ChatMessage::user("\u{FDD0}mine\u{FDD1}"), ChatMessage::assistant("a")];
    let (text, spans) =
        ChatTemplate::chatml()?.render_with_spans(&forged, AddGenerationPrompt::No)?;
    assert_eq!(spans.iter().map(|span| &text[span.clone()]).collect::<Vec<_>>(), ["a<|im_end|>"]);
    Ok(())
}

#[test]
fn templates_are_found_in_all_three_places_of_a_folder() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let tokenizer = tokenizer(Some("<s>"), Some("</s>"));
    let open = || ChatTemplate::from_folder(folder.path(), &tokenizer);
    let render =
        || open()?.expect("a template").render(&[ChatMessage::user("x")], AddGenerationPrompt::No);
    assert!(open()?.is_none());

    let config = folder.path().join("tokenizer_config.json");
    for without_template in [
        "{}",
        r#"{"chat_template": null}"#,
        r#"{"chat_template": [{"name": "rag", "template": "R"}]}"#,
    ] {
        std::fs::write(&config, without_template)?;
        assert!(open()?.is_none(), "{without_template}");
    }
    std::fs::write(&config, r#"{"chat_template": "A{{ messages[0].content }}"}"#)?;
    assert_eq!(render()?, "Ax");
    let list = json!({"chat_template": [
        {"name": "rag", "template": "R"},
        {"name": "default", "template": "{{ bos_token }}B{{ eos_token }}"},
    ]});
    std::fs::write(&config, list.to_string())?;
    assert_eq!(render()?, "<s>B</s>");
    std::fs::write(folder.path().join("chat_template.jinja"), "C{{ bos_token }}\n")?;
    assert_eq!(render()?, "C<s>");
    Ok(())
}

#[test]
fn a_template_gets_the_special_tokens_that_the_model_has() -> Result<()> {
    let source =
        "{{ bos_token }}{{ eos_token }}{{ unk_token }}{{ pad_token }} {{ pad_token is defined }}";
    let render = |special| -> Result<String> {
        ChatTemplate::new(source, &tokenizer_with("<s>", "</s>", special))?
            .render(&[], AddGenerationPrompt::No)
    };
    let all = TokenizerSpecialTokens { bos: Some(0), eos: Some(1), unk: Some(2), pad: Some(3) };
    assert_eq!(render(all)?.to_lowercase(), "<s></s><unk><pad> true");
    assert_eq!(
        render(TokenizerSpecialTokens { pad: None, ..all })?.to_lowercase(),
        "<s></s><unk> false"
    );
    Ok(())
}

#[test]
fn errors_name_the_file_and_the_line() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("chat_template.jinja");
    let tokenizer = tokenizer(None, None);
    let error = |source: &str| {
        std::fs::write(&path, source).unwrap();
        let template = ChatTemplate::from_folder(folder.path(), &tokenizer);
        let text = template
            .and_then(|template| template.unwrap().render(&greeting(), AddGenerationPrompt::No));
        text.unwrap_err().to_string()
    };
    let location = format!("{}, line 2: ", path.display());
    let message = error("a\n{% for %}");
    assert!(message.starts_with(&location), "{message}");
    let message = error("a\n{{ raise_exception('only in French') }}");
    assert_eq!(message, format!("{location}only in French"));
    let message = error("a\n{{ messages[0].content.shout() }}");
    assert!(message.starts_with(&location) && message.contains("shout"), "{message}");

    std::fs::remove_file(&path)?;
    let path = folder.path().join("tokenizer_config.json");
    for (json, line) in
        [(r#"{"chat_template": "a\n{% for %}"}"#, ", line 2"), (r#"{"chat_template": 1}"#, "")]
    {
        std::fs::write(&path, json)?;
        let error = ChatTemplate::from_folder(folder.path(), &tokenizer).unwrap_err();
        assert!(error.to_string().starts_with(&format!("{}{line}", path.display())), "{error}");
    }
    Ok(())
}

#[test]
fn an_endless_template_fails_at_the_instruction_limit() -> Result<()> {
    let endless =
        "\n{% for i in range(99999) %}{% for j in range(99999) %}{% endfor %}{% endfor %}";
    let error = ChatTemplate::new(endless, &tokenizer(None, None))?
        .render(&greeting(), AddGenerationPrompt::No);
    let error = error.unwrap_err().to_string();
    assert!(error.contains("line 2") && error.contains("never ends"), "{error}");
    let long = vec![ChatMessage::user("Hi"); 100_000];
    let text = ChatTemplate::chatml()?.render(&long, AddGenerationPrompt::Yes)?;
    assert_eq!(text.lines().count(), 200_001);
    Ok(())
}

#[test]
fn strftime_now_gives_a_template_the_date() -> Result<()> {
    let template = ChatTemplate::new("{{ strftime_now('%d %b %Y') }}", &tokenizer(None, None))?;
    let date = template.render(&[], AddGenerationPrompt::No)?;
    assert_eq!(date.len(), "26 Jul 2024".len(), "{date}");
    Ok(())
}
