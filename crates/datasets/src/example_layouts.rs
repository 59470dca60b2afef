//! Layouts of examples in well-known data sets, which are detected by the names of their columns.

use anyhow::{Result, bail, ensure};
use serde_json::Value;

use crate::columns;
use crate::example_columns::ExampleColumns;

/// Layout of well-known data sets.
struct Layout {
    /// Data set or program that it is named after.
    name: &'static str,
    /// Map that reads it; a row has this layout if it has all these columns.
    map: &'static str,
}

/// Layouts that are detected; of several that fit a row, the first is taken. A conversation comes
/// before the columns of its parts: `prompt` repeats the first of UltraChat's `messages`. The
/// `text` of alpaca is its other columns in a format, so it is read only where it stands alone.
const LAYOUTS: [Layout; 9] = [
    Layout { name: "OpenAI", map: "messages=messages" },
    Layout { name: "ShareGPT", map: "messages=conversations" },
    Layout { name: "alpaca", map: "instruction=instruction,output=output" },
    Layout { name: "Dolly", map: "instruction=instruction,input=context,output=response" },
    Layout { name: "instructions", map: "instruction=instruction,output=response" },
    Layout { name: "TRL", map: "prompt=prompt,completion=completion" },
    Layout { name: "GSM8K", map: "prompt=question,completion=answer" },
    Layout { name: "questions", map: "prompt=prompt,completion=answer" },
    Layout { name: "continued pretraining", map: "text=text" },
];

impl ExampleColumns {
    /// Layout of `row`, one of those of well-known data sets: `messages`, `conversations`,
    /// `instruction, output` (with `input`, if it exists), `instruction, context, response`,
    /// `instruction, response`, `prompt, completion`, `question, answer`, `prompt, answer` or
    /// `text`. Of several, the first is taken.
    ///
    /// # Errors
    /// When the row has none of these layouts; the message lists them.
    pub fn detect(row: &Value) -> Result<Self> {
        let row = columns::object(row)?;
        for Layout { map, .. } in LAYOUTS {
            if columns_of(map).all(|column| row.contains_key(column)) {
                return Self::parse(map);
            }
        }
        ensure!(
            !row.contains_key("prompt"),
            "there is no column `completion` or `answer`; prompts alone are for reinforcement \
             learning with a reward model or a reward program"
        );
        let names: Vec<&str> = row.keys().map(String::as_str).collect();
        let layouts = LAYOUTS.map(|Layout { name, map }| {
            format!("{} ({name})", columns_of(map).collect::<Vec<_>>().join(" + "))
        });
        bail!(
            "unknown columns {}: map them, for example --columns prompt={},completion=..; the \
             known ones are {}",
            names.join(", "),
            names.first().unwrap_or(&".."),
            layouts.join(", ")
        )
    }
}

/// Columns in a map of [`LAYOUTS`].
fn columns_of(map: &'static str) -> impl Iterator<Item = &'static str> {
    map.split(',').filter_map(|pair| Some(pair.split_once('=')?.1))
}
