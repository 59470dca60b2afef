//! Chat templates: results compared with transformers (`scripts/golden_chat.py`), and bad input.

use std::ops::Range;
use std::time::Instant;

use anyhow::Result;
use model_io::{
    AddGenerationPrompt, ChatArguments, ChatDate, ChatMessage, ChatTemplate, ChatVariables,
    Tokenizer, TokenizerSpecialTokens,
};
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
pub(super) fn tokenizer(bos: Option<&str>, eos: Option<&str>) -> Tokenizer {
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
    let prompt = AddGenerationPrompt::No;
    for (json, line) in
        [(r#"{"chat_template": "a\n{% for %}"}"#, ", line 2"), (r#"{"chat_template": 1}"#, "")]
    {
        std::fs::write(&path, json)?;
        let template = ChatTemplate::from_folder(folder.path(), &tokenizer);
        let error = template.and_then(|template| template.unwrap().render(&[], prompt));
        let error = error.unwrap_err();
        assert!(error.to_string().starts_with(&format!("{}{line}", path.display())), "{error}");
    }
    Ok(())
}

/// Error of rendering `source`, or the length of its text.
fn render_hostile(source: &str) -> Result<usize> {
    let template = ChatTemplate::new(source, &tokenizer(None, None))?;
    Ok(template.render(&greeting(), AddGenerationPrompt::No)?.len())
}

/// Template that computes `ns.a` anew, `n` times, from `start`, and then prints `result`.
fn repeated(start: &str, step: &str, n: usize, result: &str) -> String {
    format!(
        "{{% set ns = namespace(a={start}) %}}\
         {{% for i in range({n}) %}}{{% set ns.a = {step} %}}{{% endfor %}}{{{{ {result} }}}}"
    )
}

#[test]
fn a_template_that_never_ends_or_grows_without_bound_is_an_error_of_one_line() {
    let nested_loops =
        "\n{% for i in range(99999) %}{% for j in range(99999) %}{% endfor %}{% endfor %}";
    let error = render_hostile(nested_loops).unwrap_err().to_string();
    assert!(error.contains("line 2") && error.contains("never ends"), "{error}");
    let doubled_list = |result: &str| repeated("[1]", "[ns.a, ns.a]", 60, result);
    for source in [
        "{{ 'x' * 10000000000 }}".into(),
        "{{ [1] * 10000000000 }}".into(),
        "{{ range(10000000000) | list }}".into(),
        "{{ '%10000000000d' | format(1) }}".into(),
        "{{ '%10000000000d' % 1 }}".into(),
        "{{ '{:>10000000000}'.format(1) }}".into(),
        "{{ '{:.10000000000f}'.format(1) }}".into(),
        "{{ 'a\nb' | indent(10000000000) }}".into(),
        "{{ [1, [2, 3]] | tojson(indent=10000000000) }}".into(),
        "{{ range(9000) | list | tojson(separators=('x' * 1000000, '')) }}".into(),
        "{{ 'a'.center(10000000000) }}".into(),
        "{{ 'a'.ljust(10000000000, 'é') }}".into(),
        "{{ 'a'.zfill(10000000000) }}".into(),
        "{{ 'a' | center(10000000000) }}".into(),
        "{{ ('a ' * 10000000).rsplit(' ') | length }}".into(),
        repeated("'a'", "ns.a | replace('a', 'aa')", 60, "ns.a | length"),
        repeated("'a'", "ns.a.replace('a', 'aa')", 60, "ns.a | length"),
        repeated("'a'", "ns.a ~ ns.a", 60, "ns.a | length"),
        repeated("'aa'", "ns.a.join(ns.a)", 60, "ns.a | length"),
        doubled_list("ns.a | tojson"),
        repeated("[1]", "[ns.a]", 10_000, "ns.a | tojson"),
        "{% macro m() %}{{ m() }}{{ m() }}{% endmacro %}{{ m() }}".into(),
    ] {
        let error = render_hostile(&source).expect_err(&source).to_string();
        assert!(error.len() < 300 && error.lines().count() == 1, "{source}: {error}");
    }
}

/// Comparing nested lists takes no fuel, and nothing ends a thread but the program: this one ends
/// by itself, after 2³² comparisons.
#[test]
fn a_template_that_was_stopped_is_not_rendered_again() -> Result<()> {
    let source = repeated("[1]", "[ns.a, ns.a]", 32, "ns.a | sort");
    let template = ChatTemplate::new(&source, &tokenizer(None, None))?;
    let render = || template.render(&greeting(), AddGenerationPrompt::No).unwrap_err().to_string();
    let error = render();
    // The memory is that of the process, to which the other tests add.
    assert!(
        error.contains("did not end within 10 s") || error.contains("bytes of memory"),
        "{error}"
    );
    let start = Instant::now();
    assert_eq!(render(), "the chat template was stopped, so it is not used again");
    assert!(start.elapsed().as_secs() < 5, "another thread would take 10 s");
    Ok(())
}

/// Minijinja takes the fuel for the text of a list only when it has written it.
#[cfg(target_os = "linux")] // which reports the memory
#[test]
fn a_template_that_takes_gigabytes_is_stopped_before_it_has_them() {
    let source = "{{ (['x' * 1000000] * 3000) | join }}";
    let error = render_hostile(source).unwrap_err().to_string();
    let limits = ["took more than 1073741824 bytes of memory", "did not end within 10 s"];
    assert!(limits.iter().any(|limit| error.contains(limit)), "{error}");
}

#[test]
fn a_deep_template_needs_no_more_stack_than_there_is() -> Result<()> {
    assert_eq!(render_hostile(&repeated("1", "[ns.a]", 99_999, "1"))?, 1);
    assert_eq!(render_hostile(&format!("{{{{ 1{} }}}}", "+1".repeat(100_000)))?, 6);
    assert!(render_hostile(&" ".repeat(1 << 19)).is_err());
    Ok(())
}

#[test]
fn a_template_that_cannot_be_read_fails_only_when_it_is_rendered() -> Result<()> {
    let folder = tempfile::tempdir()?;
    std::fs::write(folder.path().join("chat_template.jinja"), "a\n{% unknown %}")?;
    let template = ChatTemplate::from_folder(folder.path(), &tokenizer(None, None))?.unwrap();
    assert_eq!(template.source(), "a\n{% unknown %}");
    let error = template.render(&greeting(), AddGenerationPrompt::No).unwrap_err().to_string();
    assert!(error.contains("line 2") && error.contains("unknown"), "{error}");
    Ok(())
}

#[test]
fn a_date_and_arguments_reach_the_template() -> Result<()> {
    let source = "{{ strftime_now('%d %b %Y') }} {{ enable_thinking }} {{ name }} {{ tools }}";
    let template = ChatTemplate::new(source, &tokenizer(None, None))?;
    let arguments = ["enable_thinking=false", "name=a=b", r#"{"tools": [1], "name": "c"}"#];
    let arguments = arguments.iter().map(|text| text.parse::<ChatArguments>());
    let arguments: ChatArguments = arguments.collect::<Result<Vec<_>>>()?.into_iter().collect();
    let variables = ChatVariables { date: Some("2024-07-26".parse()?), arguments };
    let text =
        template.with_variables(&variables).render(&[], AddGenerationPrompt::No)?.to_lowercase();
    assert_eq!(text, "26 jul 2024 false c [1]");
    for invalid in ["2024-7", "2024-02-30", "26 Jul 2024", "2024-01-01-01"] {
        assert!(invalid.parse::<ChatDate>().is_err(), "{invalid}");
    }
    assert!("enable_thinking".parse::<ChatArguments>().is_err());
    assert!("messages=[]".parse::<ChatArguments>().is_err());
    Ok(())
}

#[test]
fn lists_of_parts_and_tool_calls_reach_the_template() -> Result<()> {
    let rows = json!([
        { "role": "user", "content": [{ "type": "text", "text": "a" }, { "type": "image" }] },
        { "role": "assistant", "content": null, "tool_calls": [{ "name": "f" }] },
        { "role": "tool", "content": "b", "tool_call_id": "1" },
    ]);
    let messages: Vec<ChatMessage> = serde_json::from_value(rows.clone())?;
    assert_eq!(serde_json::to_value(&messages)?, rows);
    assert_eq!(
        messages.iter().map(|message| &*message.content).collect::<Vec<_>>(),
        ["a", "", "b"]
    );
    let source = "{% for m in messages %}{% if m.content is string %}{{ m.content }}{% elif \
        m.content %}{% for part in m.content %}<{{ part.type }}>{% endfor %}{% endif %}\
        {% for call in m.tool_calls %}{{ call.name }}{% endfor %}{{ m.tool_call_id }},{% endfor %}";
    let template = ChatTemplate::new(source, &tokenizer(None, None))?;
    assert_eq!(template.render(&messages, AddGenerationPrompt::No)?, "<text><image>,f,b1,");
    for invalid in [json!({ "role": "user" }), json!({ "role": "user", "content": 1 })] {
        assert!(serde_json::from_value::<ChatMessage>(invalid).is_err());
    }
    Ok(())
}

#[test]
fn a_conversation_of_100_000_turns_stays_below_the_limit() -> Result<()> {
    let long = vec![ChatMessage::user("Hi"); 100_000];
    let text = ChatTemplate::chatml()?.render(&long, AddGenerationPrompt::Yes)?;
    assert_eq!(text.lines().count(), 200_001);
    Ok(())
}

#[test]
fn line_ends_of_a_template_become_lf_as_in_jinja2() -> Result<()> {
    for (source, expected) in [
        ("{% if true %}\r\nA\r\n{% endif %}\r\nB\r\n", "A\nB"),
        ("A\rB{{ 'C\rD' }}\r", "A\nBC\nD"),
        (r"{{ 'C\r\nD' }}", "C\r\nD"), // an escape in a string is no line end
    ] {
        let template = ChatTemplate::new(source, &tokenizer(None, None))?;
        assert_eq!(template.render(&[], AddGenerationPrompt::No)?, expected, "{source:?}");
    }
    Ok(())
}

#[test]
fn strftime_now_gives_a_template_the_date() -> Result<()> {
    let template = ChatTemplate::new("{{ strftime_now('%d %b %Y') }}", &tokenizer(None, None))?;
    let date = template.render(&[], AddGenerationPrompt::No)?;
    assert_eq!(date.len(), "26 Jul 2024".len(), "{date}");
    Ok(())
}
