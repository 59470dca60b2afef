//! Questions: layouts, and errors of invalid rows.

use anyhow::Result;
use serde_json::json;

use crate::{Example, parse_question_row};

#[test]
fn a_question_has_an_answer_in_text_or_numbers() -> Result<()> {
    for row in [
        json!({ "question": "1 + 1?", "answer": "2 " }),
        json!({ "prompt": "1 + 1?", "answer": 2 }),
        json!({ "question": null, "prompt": "1 + 1?", "answer": "2" }),
    ] {
        assert_eq!(parse_question_row(&row)?, Example::new("1 + 1?", "2"), "{row}");
    }
    let indented = parse_question_row(&json!({ "prompt": "  a\n", "answer": 4 }))?;
    assert_eq!(indented, Example::new("  a\n", "4"));
    assert_eq!(parse_question_row(&json!({ "prompt": "a", "answer": 4.5 }))?.completion, "4.5");
    for (row, message) in [
        (json!({ "answer": 2 }), "there is no column `question` or `prompt`"),
        (json!({ "question": "a" }), "there is no column `answer`"),
        (json!({ "question": "a", "answer": null }), "`answer` must be a string, but is null"),
        (json!({ "question": "a", "answer": " " }), "`answer` is empty"),
        (json!({ "question": 7, "answer": 2 }), "`question` must be a string, but is 7"),
    ] {
        let error = parse_question_row(&row).expect_err("refused").to_string();
        assert!(error.contains(message), "{error}");
    }
    Ok(())
}
