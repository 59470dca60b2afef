//! Flags of chat templates.

use anyhow::Result;
use clap::Parser;
use model_io::ChatVariables;

use crate::flags::{ChatTemplateFlags, RunChatTemplateFlags, variables_of_run};

#[derive(Parser)]
struct RunArgs {
    #[command(flatten)]
    chat_template: RunChatTemplateFlags,
}

#[derive(Parser)]
struct EvalArgs {
    #[command(flatten)]
    chat_template: ChatTemplateFlags,
}

fn variables(date: &str, arguments: &str) -> Result<ChatVariables> {
    Ok(ChatVariables { date: Some(date.parse()?), arguments: arguments.parse()? })
}

#[test]
fn a_run_records_its_chat_variables_as_flags_that_mean_the_same() -> Result<()> {
    let args = ["part", "--chat-template-arg", "a=false", "--chat-template-arg=b=x, y"];
    let flags = RunArgs::try_parse_from(args)?.chat_template;
    let settings = serde_json::to_value(&flags)?;
    let today = model_io::ChatDate::today().to_string();
    assert_eq!(settings["chat_date"], today);
    assert_eq!(flags.variables(), variables(&today, r#"{"a": false, "b": "x, y"}"#)?);
    // As `--resume` gives them back on a later day.
    let recorded = |key: &str| format!("={}", settings[key].as_str().expect("a text"));
    let again = RunArgs::try_parse_from([
        "part".to_string(),
        "--chat-template-arg".to_string() + &recorded("chat_template_arg"),
        "--chat-date".to_string() + &recorded("chat_date"),
    ])?;
    assert_eq!(serde_json::to_value(&again.chat_template)?, settings);
    let none = serde_json::to_value(RunArgs::try_parse_from(["part"])?.chat_template)?;
    assert!(none["chat_template_arg"].is_null());

    let run = tempfile::tempdir()?;
    std::fs::write(run.path().join("config.json"), settings.to_string())?;
    std::fs::write(run.path().join("metrics.jsonl"), "")?; // marks the folder of a run
    for name in ["", "model", "adapter", "final", "checkpoints/step-20"] {
        let model = run.path().join(name);
        std::fs::create_dir_all(&model)?;
        assert_eq!(variables_of_run(&model)?, flags.variables(), "{name}");
    }
    let args = ["eval", "--chat-template-arg", "b=2", "--chat-date", "2024-07-26"];
    let eval = EvalArgs::try_parse_from(args)?.chat_template;
    let expected = variables("2024-07-26", r#"{"a": false, "b": 2}"#)?;
    assert_eq!(eval.variables(&run.path().to_string_lossy())?, expected);
    let model = tempfile::tempdir()?;
    let none = EvalArgs::try_parse_from(["eval"])?.chat_template;
    assert_eq!(none.variables(&model.path().to_string_lossy())?, ChatVariables::default());
    Ok(())
}

#[test]
fn invalid_chat_variables_are_usage_errors() {
    for (flag, value, message) in [
        ("--chat-template-arg", "enable_thinking", "NAME=VALUE"),
        ("--chat-template-arg", "messages=[]", "given by the conversation"),
        ("--chat-date", "26 Jul 2024", "2026-07-31"),
    ] {
        let error = RunArgs::try_parse_from(["part", flag, value]).err().expect("an error");
        assert!(error.to_string().contains(message), "{error}");
    }
}

#[test]
fn variables_take_from_defaults_what_they_lack() -> Result<()> {
    let own = variables("2024-07-26", r#"{"a": 1}"#)?;
    let defaults = variables("2020-01-01", r#"{"a": 2, "b": 3}"#)?;
    let expected = variables("2024-07-26", r#"{"a": 1, "b": 3}"#)?;
    assert_eq!(own.clone().with_defaults(&defaults), expected);
    let undated = ChatVariables { date: None, ..own };
    assert_eq!(undated.with_defaults(&defaults).date, defaults.date);
    Ok(())
}
