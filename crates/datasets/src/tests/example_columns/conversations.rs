//! Conversations: of OpenAI's, ShareGPT's and TRL's layouts, and prompts alone.

use anyhow::Result;
use model_io::ChatMessage;

use super::Files;
use crate::{AssistantTurns, Example, ExampleColumns, read_examples};

#[test]
fn a_conversation_of_sharegpt_ends_with_the_last_turn_of_the_assistant() -> Result<()> {
    let files = Files::new();
    let turn = |from: &str, value: &str| format!(r#"{{"from": "{from}", "value": "{value}"}}"#);
    let turns = |turns: &[String]| format!(r#"{{"conversations": [{}]}}"#, turns.join(", "));
    let row = turns(&[
        turn("system", "Add."),
        turn("human", "1 + 2"),
        turn("gpt", "call"),
        turn("tool", "3"),
        turn("gpt", "It is 3."),
        turn("human", "Thanks"),
    ]);
    let example = &files.read("a.jsonl", row.as_bytes(), None)?[0];
    let roles: Vec<&str> = example.prompt.iter().map(|message| message.role.as_str()).collect();
    assert_eq!(roles, ["system", "user", "assistant", "tool"]);
    assert_eq!(example.completion, "It is 3.");
    assert_eq!(example.assistant_turns, AssistantTurns::All);
    // Reinforcement learning answers the last question.
    let path = files.write("a.jsonl", row.as_bytes());
    let prompts = read_examples(&path, Some(&ExampleColumns::AnyPrompt))?;
    assert_eq!((prompts[0].prompt.len(), prompts[0].completion.as_str()), (6, ""));
    for (row, message) in [
        (turns(&[turn("robot", "a")]), "unknown role `robot`"),
        (turns(&[turn("human", "a")]), "the last message is the user's, not the assistant's"),
        (turns(&[r#"{"from": "gpt"}"#.into()]), "{\"from\", \"value\"} objects"),
    ] {
        files.assert_rejected("a.jsonl", &row, None, message);
    }
    Ok(())
}

#[test]
fn conversations_must_end_with_a_user_and_an_assistant_message() {
    let files = Files::new();
    let chat = |messages: &str| format!("{{\"messages\": {messages}}}");
    files.assert_rejected("a.jsonl", &chat("[]"), None, "`messages` is empty");
    files.assert_rejected("a.jsonl", &chat("3"), None, "must be a list");
    let user = r#"{"role": "user", "content": "a"}"#;
    files.assert_rejected(
        "a.jsonl",
        &chat(&format!("[{user}]")),
        None,
        "the last message is the user's, not the assistant's",
    );
    let one = |role: &str| format!("{{\"role\": \"{role}\", \"content\": \"a\"}}");
    let [system, assistant, robot] = ["system", "assistant", "robot"].map(one);
    let rows = chat(&format!("[{robot}, {user}, {assistant}]"));
    files.assert_rejected("a.jsonl", &rows, None, "a.jsonl:1: unknown role `robot`");
    let message = "the last message of the prompt is the system's, not the user's";
    files.assert_rejected("a.jsonl", &chat(&format!("[{system}, {assistant}]")), None, message);
    let message = "there is no message before the assistant's";
    files.assert_rejected(
        "a.jsonl",
        &chat(r#"[{"role": "assistant", "content": "a"}]"#),
        None,
        message,
    );
}

/// Layouts of TRL: prompt-completion of a conversation, and prompts alone.
#[test]
fn prompts_may_be_conversations_and_stand_alone() -> Result<()> {
    let files = Files::new();
    let prompt = r#"[{"role": "system", "content": "Add."}, {"role": "user", "content": "1 + 2"}]"#;
    let messages = vec![ChatMessage::system("Add."), ChatMessage::user("1 + 2")];
    let assistant_turns = AssistantTurns::Last;
    let prompts = messages.clone();
    let expected = Example { prompt: prompts, assistant_turns, ..Example::new("", "3") };
    for completion in [r#""3""#, r#"[{"role": "assistant", "content": "3"}]"#] {
        let row = format!(r#"{{"prompt": {prompt}, "completion": {completion}}}"#);
        assert_eq!(files.read("a.jsonl", row.as_bytes(), None)?, std::slice::from_ref(&expected));
    }
    let alone = Example { prompt: messages, ..Example::new("", "") };
    let row = format!(r#"{{"prompt": {prompt}}}"#);
    for columns in [ExampleColumns::parse("prompt=prompt")?, ExampleColumns::AnyPrompt] {
        let path = files.write("a.jsonl", row.as_bytes());
        assert_eq!(read_examples(&path, Some(&columns))?, std::slice::from_ref(&alone));
    }
    let example = files.write("b.jsonl", br#"{"prompt": "1 + 2", "completion": "3"}"#);
    let found = read_examples(&example, Some(&ExampleColumns::AnyPrompt))?;
    assert_eq!(found, [Example::new("1 + 2", "3")], "an example keeps its completion");
    for (answer, expected) in [("3", "3"), (r#""3""#, "3"), (r#"["3"]"#, ""), ("null", "")] {
        let row = format!(r#"{{"prompt": "1 + 2", "answer": {answer}}}"#);
        let path = files.write("c.jsonl", row.as_bytes());
        let found = read_examples(&path, Some(&ExampleColumns::AnyPrompt))?;
        assert_eq!(found, [Example::new("1 + 2", expected)], "a prompt keeps its answer");
    }
    files.assert_rejected("a.jsonl", &row, None, "prompts alone are for reinforcement learning");
    for (row, message) in [
        (r#"{"prompt": [], "completion": "3"}"#, "`prompt` is empty"),
        (
            r#"{"prompt": [{"role": "assistant", "content": "a"}], "completion": "3"}"#,
            "the last message of the prompt is the assistant's",
        ),
        (
            r#"{"prompt": "a", "completion": [{"role": "user", "content": "3"}]}"#,
            "a list of one message of the assistant",
        ),
        (r#"{"prompt": 7, "completion": "3"}"#, "`prompt` must be a string, but is 7"),
    ] {
        files.assert_rejected("a.jsonl", row, None, message);
    }
    Ok(())
}

#[test]
fn a_prompt_may_end_with_the_result_of_a_tool() -> Result<()> {
    let row = r#"{"messages": [
        {"role": "user", "content": [{"type": "text", "text": "How warm is it?"}]},
        {"role": "assistant", "content": null, "tool_calls": [{"name": "warmth"}]},
        {"role": "tool", "content": "20", "tool_call_id": "a"},
        {"role": "assistant", "content": "20 degrees."}]}"#;
    let examples = Files::new().read("a.json", format!("[{row}]").as_bytes(), None)?;
    let prompt = &examples[0].prompt;
    assert_eq!(prompt[0].content, "How warm is it?");
    assert_eq!(prompt[1].fields["tool_calls"][0]["name"], "warmth");
    assert_eq!((prompt[2].role.as_str(), prompt[2].content.as_str()), ("tool", "20"));
    Ok(())
}
