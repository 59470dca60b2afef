//! Jinja: the results of Jinja2 in transformers' environment (`scripts/golden_jinja.py`).

use anyhow::Result;
use model_io::{AddGenerationPrompt, ChatMessage, ChatTemplate};
use serde_json::Value;

use super::chat_template::tokenizer;

fn golden() -> Value {
    serde_json::from_str(include_str!("../golden/jinja.json")).unwrap()
}

fn texts(list: &Value) -> Vec<&str> {
    list.as_array().unwrap().iter().map(|text| text.as_str().unwrap()).collect()
}

fn render(source: &str) -> Result<String> {
    ChatTemplate::new(source, &tokenizer(None, None))?
        .render(&[ChatMessage::user("Hi")], AddGenerationPrompt::No)
}

/// Checks that the `conditions` are true where `expected` has a T, and false where it has an F.
fn assert_letters(golden: &Value, conditions: &[String], expected: &str) -> Result<()> {
    let write = |(condition, letter): (&String, char)| match letter {
        '-' => "-".to_string(),
        _ => format!("{{{{ 'T' if {condition} else 'F' }}}}"),
    };
    let body: String = conditions.iter().zip(expected.chars()).map(write).collect();
    let source = texts(&golden["frame"]).join(body.as_str());
    assert_eq!(render(&source)?, expected, "{conditions:?}");
    Ok(())
}

#[test]
fn tests_of_one_value_are_those_of_jinja2() -> Result<()> {
    let golden = golden();
    for (test, expected) in golden["unary"].as_object().unwrap() {
        let values = texts(&golden["values"]).into_iter();
        let conditions: Vec<_> = values.map(|value| format!("{value} is {test}")).collect();
        assert_letters(&golden, &conditions, expected.as_str().unwrap())?;
    }
    Ok(())
}

#[test]
fn tests_of_two_values_are_those_of_jinja2() -> Result<()> {
    let golden = golden();
    let tests = golden["binary"].as_object().unwrap().iter();
    let tests = tests.map(|(test, rows)| (test.as_str(), rows, "operands"));
    for (test, rows, operands) in tests.chain([("sameas", &golden["sameas"], "identity")]) {
        let operands = texts(&golden[operands]);
        for (left, row) in operands.iter().zip(texts(rows)) {
            let right = operands.iter();
            let conditions: Vec<_> =
                right.map(|right| format!("{left} is {test}({right})")).collect();
            assert_letters(&golden, &conditions, row)?;
        }
    }
    Ok(())
}

#[test]
fn all_tests_of_jinja2_exist() -> Result<()> {
    let golden = golden();
    let names = texts(&golden["tests"]).into_iter().chain(["nosuch"]);
    let conditions: Vec<_> = names.map(|name| format!("'{name}' is test")).collect();
    let expected = "T".repeat(conditions.len() - 1) + "F";
    assert_letters(&golden, &conditions, &expected)
}

/// Nemotron-3 and LFM2: None is neither a list of tools nor a list to be written as JSON.
#[test]
fn none_takes_the_branch_of_jinja2() -> Result<()> {
    let tools = "{% if tools is iterable and tools | length > 0 %}tools{% else %}none{% endif %}";
    assert_eq!(render(tools)?, "none");
    let value = "{% set v = none %}z={% if v is mapping %}{{ v | tojson }}{% elif v is iterable \
        and v is not string %}{{ v | tojson }}{% else %}{{ v | string }}{% endif %}";
    assert_eq!(render(value)?, "z=None");
    Ok(())
}

#[test]
fn filters_methods_and_functions_give_the_text_of_jinja2_or_an_error() {
    for case in golden()["rendered"].as_array().unwrap() {
        let (source, expected) = (case[0].as_str().unwrap(), case[1].as_str());
        match (render(source), expected) {
            (Ok(text), Some(expected)) => assert_eq!(text, expected, "{source}"),
            (Err(error), None) => assert!(error.to_string().contains("line 1"), "{error}"),
            (result, _) => panic!("{source}: {result:?}, expected {expected:?}"),
        }
    }
}
