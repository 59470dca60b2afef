//! Rows of a data file with the lines on which they begin: a JSON array, or JSON Lines, either of them perhaps compressed by gzip, whatever its
//! name.

use std::io::Read;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use flate2::read::MultiGzDecoder;
use serde_json::{Deserializer, Value};

/// The rows of `path`, and the line of each, counted from 1.
///
/// # Errors
/// When the file cannot be read, or a row is no JSON (the line is named), or there is none.
pub fn read(path: &Path) -> Result<Vec<(usize, Value)>> {
    let name = path.display();
    let mut bytes = std::fs::read(path).with_context(|| format!("reading {name}"))?;
    if bytes.starts_with(&[0x1f, 0x8b]) {
        let mut unpacked = Vec::new();
        let read = MultiGzDecoder::new(&bytes[..]).read_to_end(&mut unpacked);
        read.with_context(|| format!("{name} is no whole gzip file"))?;
        bytes = unpacked;
    }
    ensure!(
        !bytes.starts_with(b"PAR1"),
        "{name} is a parquet file, which is not read here: convert it to JSON Lines (pandas: read_parquet, then to_json with lines=True)"
    );
    let text = String::from_utf8(bytes).ok().with_context(|| format!("{name} is not UTF-8"))?;
    let text = text.strip_prefix('\u{feff}').unwrap_or(&text); // Windows marks UTF-8 so
    let rows = match text.trim_start().starts_with('[') {
        true => of_array(text),
        false => of_lines(text),
    };
    let rows = rows.map_err(|(line, error)| anyhow::anyhow!("{name}:{line}: {error}"))?;
    ensure!(!rows.is_empty(), "{name} has no rows");
    Ok(rows)
}

/// Rows, or the line that is wrong and how.
type Rows = std::result::Result<Vec<(usize, Value)>, (usize, String)>;

fn of_lines(text: &str) -> Rows {
    let lines = (1..).zip(text.lines()).filter(|(_, line)| !line.trim().is_empty());
    let row = |(line, text)| match serde_json::from_str(text) {
        Ok(row) => Ok((line, row)),
        Err(error) if error.is_eof() => Err((
            line,
            format!("{}; the file is neither one array nor a whole row a line", said(&error)),
        )),
        Err(error) => Err((line, said(&error))),
    };
    lines.map(row).collect()
}

/// What `error` says, with the column alone: its line is not the file's.
fn said(error: &serde_json::Error) -> String {
    let text = error.to_string();
    let cause = text.split(" at line ").next().unwrap_or(&text);
    format!("no JSON: {cause} in column {}", error.column())
}

fn of_array(text: &str) -> Rows {
    let skip = |at: usize| at + text[at..].len() - text[at..].trim_start().len();
    let (mut rows, mut at) = (Vec::new(), skip(0) + 1);
    let mut counted = (0, 1); // a place, and the line it is on
    loop {
        at = skip(at);
        counted = (at, counted.1 + text[counted.0..at].matches('\n').count());
        let line = counted.1;
        if text[at..].starts_with(']') && rows.is_empty() {
            return Ok(rows);
        }
        let mut values = Deserializer::from_str(&text[at..]).into_iter::<Value>();
        match values.next() {
            Some(Ok(row)) => rows.push((line, row)),
            Some(Err(error)) => {
                return Err((line + error.line() - 1, said(&error)));
            }
            None => return Err((line, "the array does not end".into())),
        }
        at = skip(at + values.byte_offset());
        match text[at..].chars().next() {
            Some(',') => at += 1,
            Some(']') if text[at + 1..].trim().is_empty() => return Ok(rows),
            _ => {
                return Err((
                    line,
                    "expected a comma or the end of the array after this row".into(),
                ));
            }
        }
    }
}

/// The rows of `path` read as `row` says; an error names the file and the line.
///
/// # Errors
/// As [`read`], and those of `row`.
pub fn read_parsed<T>(path: &Path, row: impl Fn(&Value) -> Result<T>) -> Result<Vec<T>> {
    read(path)?.iter().map(|one| with_row_context(path, one, &row)).collect()
}

/// What `row` makes of one row; an error names the file and the line.
///
/// # Errors
/// Those of `row`.
pub fn with_row_context<T>(
    path: &Path,
    (line, value): &(usize, Value),
    row: impl FnOnce(&Value) -> Result<T>,
) -> Result<T> {
    row(value).with_context(|| format!("{}:{line}", path.display()))
}
