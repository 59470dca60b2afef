//! Programming problems: layouts of rows, and errors of invalid ones.

use anyhow::Result;
use serde_json::json;

use crate::code_rows::parse_code_row;

#[test]
fn the_tests_of_each_layout_are_read() -> Result<()> {
    let own = json!({ "prompt": "Write f.", "tests": "assert f() == 1" });
    let example = parse_code_row(&own)?;
    assert_eq!((&*example.prompt[0].content, &*example.completion), ("Write f.", ""));
    assert_eq!(example.tests, ["assert f() == 1"]);

    let mbpp = json!({
        "text": "Double a number.", "code": "def f(x): return 2 * x", "test_setup_code": "import a",
        "test_list": ["assert f(1) == 2", "assert f(2) == 4"], "challenge_test_list": [],
    });
    let example = parse_code_row(&mbpp)?;
    let prompt = "Double a number.\nYour function has to pass tests such as this one:\n\
                  assert f(1) == 2";
    assert_eq!(example.prompt[0].content, prompt, "the second test stays hidden");
    assert_eq!(example.tests, ["import a\nassert f(1) == 2", "import a\nassert f(2) == 4"]);
    assert_eq!(example.completion, "def f(x): return 2 * x");

    let sanitized = json!({ "prompt": "Double.", "test_imports": ["import a", "import b"],
        "test_list": ["assert f(1) == 2"] });
    assert_eq!(parse_code_row(&sanitized)?.tests, ["import a\nimport b\nassert f(1) == 2"]);

    let human_eval = json!({ "prompt": "def f(x):\n", "entry_point": "f",
        "canonical_solution": "    return x", "test": "def check(f):\n    assert f(1) == 1\n" });
    let tests = parse_code_row(&human_eval)?.tests;
    assert_eq!(tests, ["def check(f):\n    assert f(1) == 1\n\ncheck(f)"]);
    Ok(())
}

#[test]
fn rows_without_a_prompt_or_tests_are_refused() {
    for (row, message) in [
        (json!({ "tests": "a" }), "there is no column `prompt`, `question`, `instruction`"),
        (json!({ "prompt": "a" }), "there are no tests in a column `tests`, `test_list`"),
        (json!({ "prompt": "a", "tests": [] }), "there are no tests"),
        (json!({ "prompt": "a", "tests": " " }), "there are no tests"),
        (
            json!({ "prompt": "a", "tests": 1 }),
            "`tests` must be a text or a list of texts, but is 1",
        ),
        (json!({ "prompt": "a", "tests": ["a", 1] }), "`tests` must be a text or a list of texts"),
        (json!({ "prompt": "a", "test": "b" }), "there is no column `entry_point`"),
        (json!({ "prompt": "", "tests": "a" }), "`prompt` is empty"),
        (
            json!({
                "prompt": "a", "test_imports": "a".repeat(9999), "test_list": vec!["b"; 1000],
            }),
            "1000 tests are too many for a setup of 9999 bytes before each",
        ),
    ] {
        let error = parse_code_row(&row).expect_err("refused").to_string();
        assert!(error.contains(message), "{error}");
    }
}
