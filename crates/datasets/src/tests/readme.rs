//! Rows that the README shows.

use anyhow::Result;
use serde_json::{Deserializer, Value};

use crate::code_rows::parse_code_row;
use crate::{Example, ExampleColumns, FilteredPreferences, PreferenceColumns, parse_question_row};

#[test]
fn the_rows_in_the_readme_are_accepted() -> Result<()> {
    let blocks = include_str!("../../README.md").split("```json").skip(1);
    let rows = blocks.map(|block| {
        let block = block.split("```").next().unwrap_or_default();
        Deserializer::from_str(block).into_iter::<Value>().collect::<Result<Vec<_>, _>>()
    });
    let [examples, preferences, questions, programs] = &rows.collect::<Result<Vec<_>, _>>()?[..]
    else {
        panic!("four kinds of rows")
    };
    let examples = examples.iter().map(|row| ExampleColumns::detect(row)?.parse_row(row));
    let examples = examples.collect::<Result<Vec<Example>>>()?;
    assert!(examples.len() == 9 && examples.iter().all(|example| example.completion == "3"));
    let mut pairs = FilteredPreferences::default();
    for row in preferences {
        PreferenceColumns::default().read_row(row, &mut pairs)?;
    }
    let is_right = |pair: &crate::Preference| (pair.chosen == "3") && (pair.rejected == "4");
    assert!(pairs.usable.len() == 5 && pairs.usable.iter().all(is_right));
    let answers = questions.iter().map(|row| Ok(parse_question_row(row)?.completion));
    assert_eq!(answers.collect::<Result<Vec<_>>>()?, ["1 + 2 = 3\n#### 3", "3"]);
    for row in programs {
        assert_eq!(parse_code_row(row)?.tests.len(), 1, "{row}");
    }
    Ok(())
}
