//! Rows of a data file with their line numbers: a JSON array, also as the `data` of an object, or
//! JSON Lines, plain or compressed by gzip; or Parquet, whose rows are numbered. The format is
//! detected by content, not by file name.

use std::io::Read;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use flate2::read::MultiGzDecoder;
use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::{Deserializer, Value};
use tensor_core::regular_file;

use crate::parquet_rows;

/// Limit of a file of rows, which are all kept in memory.
const MAX_BYTES: u64 = 1 << 32;

/// Rows of the files `paths`, one after the other, parsed by `parse_row`.
///
/// # Errors
/// When a file cannot be read, a row is not valid JSON or `parse_row` fails (the message names the
/// file and the line), or there are no rows.
pub fn read_parsed<T>(
    paths: &[PathBuf],
    mut parse_row: impl FnMut(&Value) -> Result<T>,
) -> Result<Vec<T>> {
    let mut parsed = Vec::new();
    for path in paths {
        for (line, row) in read(path)? {
            let row = parse_row(&row).with_context(|| format!("{}:{line}", path.display()))?;
            parsed.push(row);
        }
    }
    let first = paths.first().map_or(Path::new(""), PathBuf::as_path);
    ensure!(!parsed.is_empty(), "{} has no rows", first.display());
    Ok(parsed)
}

/// Content of a gzip file, at most `max_len` bytes: a small file may unpack to any length.
///
/// # Errors
/// When the file is damaged, or its content is longer.
pub(crate) fn unpack(bytes: &[u8], max_len: u64) -> Result<Vec<u8>> {
    let mut unpacked = Vec::new();
    let read = MultiGzDecoder::new(bytes).take(max_len + 1).read_to_end(&mut unpacked);
    read.context("it is not a complete gzip file")?;
    ensure!(
        unpacked.len() as u64 <= max_len,
        "it unpacks to more than the limit of {max_len} bytes"
    );
    Ok(unpacked)
}

/// Rows of `path` with the line where each begins, counted from 1.
fn read(path: &Path) -> Result<Vec<(usize, Value)>> {
    match parquet_rows::is_parquet(path)? {
        true => parquet_rows::read(path),
        false => read_json(path),
    }
}

fn read_json(path: &Path) -> Result<Vec<(usize, Value)>> {
    let name = path.display();
    let mut bytes = regular_file::read(path, MAX_BYTES)?;
    if bytes.starts_with(&[0x1f, 0x8b]) {
        bytes = unpack(&bytes, MAX_BYTES).with_context(|| name.to_string())?;
    }
    let text = String::from_utf8(bytes).ok().with_context(|| format!("{name} is not UTF-8"))?;
    // Windows marks UTF-8 files with a byte order mark.
    let text = text.strip_prefix('\u{feff}').unwrap_or(&text);
    let rows = match Cursor::of_data(text) {
        _ if text.trim_start().starts_with('[') => parse_array(Cursor::new(text), ""),
        Some(cursor) => parse_array(cursor, "{\"data\":"),
        None => parse_lines(text),
    };
    rows.map_err(|(line, error)| match other_format(path) {
        Some(format) if line == 1 => anyhow::anyhow!("{name}: {format}"),
        _ => anyhow::anyhow!("{name}:{line}: {error}"),
    })
}

/// Error about a file whose name promises a format other than JSON.
fn other_format(path: &Path) -> Option<&'static str> {
    let name = path.file_name()?.to_string_lossy().to_lowercase();
    let extension = name.trim_end_matches(".gz").rsplit_once('.')?.1;
    match extension {
        "csv" | "tsv" => {
            Some("CSV is not read; expected JSON Lines, a JSON array or Parquet: convert it")
        }
        "parquet" => Some("it is not Parquet, which begins with PAR1, nor JSON"),
        _ => None,
    }
}

/// Rows with their lines, or the line of the first error and its message.
type Rows = std::result::Result<Vec<(usize, Value)>, (usize, String)>;

fn parse_lines(text: &str) -> Rows {
    let lines = (1..).zip(text.lines()).filter(|(_, line)| !line.trim().is_empty());
    let row = |(line, text)| match serde_json::from_str(text) {
        Ok(row) => Ok((line, row)),
        Err(error) if error.is_eof() => Err((
            line,
            format!("{}; expected a JSON array or one complete row per line", json_error(&error)),
        )),
        Err(error) => Err((line, json_error(&error))),
    };
    lines.map(row).collect()
}

/// Message of `error` with its column only: its line number is not that of the file.
fn json_error(error: &serde_json::Error) -> String {
    let text = error.to_string();
    let cause = match text.split(" at line ").next().unwrap_or(&text) {
        "lone leading surrogate in hex escape" | "unexpected end of hex escape" => {
            "an escape such as \\ud83d is half of a character, which is not text: remove it"
        }
        cause => cause,
    };
    format!("invalid JSON: {cause} in column {}", error.column())
}

/// Rest of a text that is being parsed, without leading white space, and the line where it begins.
struct Cursor<'a> {
    rest: &'a str,
    line: usize,
}

impl<'a> Cursor<'a> {
    fn new(text: &'a str) -> Self {
        let mut cursor = Self { rest: text, line: 1 };
        cursor.advance(0);
        cursor
    }

    /// Start of the array in `{"data": [..]}`, perhaps after other fields, if the text is one such
    /// object and not JSON Lines, whose first line is a row.
    fn of_data(text: &'a str) -> Option<Self> {
        let mut cursor = Self::new(text);
        let (first_line, others) = cursor.rest.split_once('\n').unwrap_or((cursor.rest, ""));
        if !others.trim().is_empty() && serde_json::from_str::<IgnoredAny>(first_line).is_ok() {
            return None;
        }
        cursor.take('{');
        loop {
            let key = cursor.take_value::<String>()?;
            cursor.take(':');
            if key == "data" && cursor.rest.starts_with('[') {
                return Some(cursor);
            }
            cursor.take_value::<IgnoredAny>()?;
            if !cursor.take(',') {
                return None;
            }
        }
    }

    /// Skips the next JSON value, and returns it if it is a valid `T`.
    fn take_value<T: Deserialize<'a>>(&mut self) -> Option<T> {
        let mut values = Deserializer::from_str(self.rest).into_iter();
        let value = values.next()?.ok();
        self.advance(values.byte_offset());
        value
    }

    /// Skips `n_bytes` and the white space after them.
    fn advance(&mut self, n_bytes: usize) {
        let rest = self.rest[n_bytes..].trim_start();
        self.line += self.rest[..self.rest.len() - rest.len()].matches('\n').count();
        self.rest = rest;
    }

    /// Skips `token` if it is next, and returns whether it was.
    fn take(&mut self, token: char) -> bool {
        let is_next = self.rest.starts_with(token);
        self.advance(if is_next { token.len_utf8() } else { 0 });
        is_next
    }
}

/// Rows of the array at `cursor`. The text after it must complete what is open `before` it.
fn parse_array(mut cursor: Cursor<'_>, before: &str) -> Rows {
    let mut rows = Vec::new();
    cursor.take('[');
    if cursor.take(']') {
        return Ok(rows);
    }
    loop {
        let line = cursor.line;
        let mut values = Deserializer::from_str(cursor.rest).into_iter::<Value>();
        match values.next() {
            Some(Ok(row)) => rows.push((line, row)),
            Some(Err(error)) => return Err((line + error.line() - 1, json_error(&error))),
            None => return Err((line, "the array does not end".into())),
        }
        cursor.advance(values.byte_offset());
        if !cursor.take(',') {
            if !cursor.take(']') {
                return Err((
                    line,
                    "expected a comma or the end of the array after this row".into(),
                ));
            }
            let whole = format!("{before}[]{}", cursor.rest);
            return match serde_json::from_str::<IgnoredAny>(&whole) {
                Ok(_) => Ok(rows),
                Err(_) => Err((cursor.line, "expected the end of the file after the array".into())),
            };
        }
    }
}
