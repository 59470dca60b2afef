//! Rows of data in every layout, and the same rows as JSON Lines, as a JSON array, as the `data` of
//! an object, and compressed.
#![no_main]

use std::cell::RefCell;
use std::io::Write;
use std::path::PathBuf;
use std::slice;

use datasets::{
    ExampleColumns, FilteredPreferences, PreferenceColumns, parse_question_row, read_examples,
};
use flate2::Compression;
use flate2::write::GzEncoder;
use fuzz::{Scratch, json_target};
use serde_json::{Value, json};

thread_local! {
    static SCRATCH: RefCell<Scratch> = RefCell::new(Scratch::new("rows"));
}

fn run(document: Value) {
    let columns = document["columns"].as_str().map(ExampleColumns::parse);
    let columns = columns.and_then(Result::ok);
    let pairs = document["columns"].as_str().map(PreferenceColumns::parse);
    let pairs = pairs.and_then(Result::ok).unwrap_or_default();
    let rows = document["rows"].as_array().map_or(&[][..], Vec::as_slice);
    for row in rows {
        let _ = parse_question_row(row);
        let _ = pairs.read_prompt(row);
        let _ = ExampleColumns::AnyPrompt.parse_row(row);
        let _ = pairs.read_row(row, &mut FilteredPreferences::default());
    }
    if let [row] = rows
        && (row.is_array() || row["data"].is_array())
    {
        return; // a file of this row alone is an array of rows, or the `data` of an object
    }
    SCRATCH.with_borrow_mut(|scratch| {
        let lines: String = rows.iter().map(|row| format!("{row}\n")).collect();
        let lines_path = scratch.write("lines.jsonl", &lines);
        let array = serde_json::to_string_pretty(rows).expect("rows are JSON");
        let others = [
            scratch.write("array.json", array),
            scratch.write("data.json", json!({ "n": 1, "data": rows }).to_string()),
            scratch.write("lines.jsonl.gz", compressed(lines.as_bytes())),
        ];
        let read = |path: &PathBuf| {
            let paths = slice::from_ref(path);
            (read_examples(paths, columns.as_ref()).ok(), pairs.read_files(paths).ok())
        };
        let expected = read(&lines_path);
        for path in others {
            assert_eq!(expected, read(&path), "{}", path.display());
        }
    });
}

fn compressed(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(bytes).expect("a vector takes all bytes");
    encoder.finish().expect("a vector takes all bytes")
}

json_target!("rows.dict", run);
