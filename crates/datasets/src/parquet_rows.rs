//! Rows of a Parquet file as JSON values: a list of structs is an array of objects.
//!
//! A file of a stranger may be damaged, or small and yet claim any number of values. So the memory
//! of its rows is limited; a page takes at most 2 GiB, because the codecs that are accepted stop at
//! the size that it states, and the memory of the pages of all columns is limited, too; and the
//! rows are read on a thread of their own, which has stack for nested columns and whose panics are
//! errors.

use std::fs::File;
use std::io::Read;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use parquet::basic::Compression;
use parquet::file::reader::{FileReader, SerializedFileReader};
use serde_json::Value;
use tensor_core::memory::resident_bytes;
use tensor_core::regular_file;
use tensor_core::threads::spawn_untrusted_call;

/// First bytes of a Parquet file.
const MAGIC: &[u8] = b"PAR1";
/// Limit of the memory of a file's rows.
const MAX_BYTES: usize = 1 << 32;
/// Limit of the memory that the process takes while it reads a file: that of the rows, and as much
/// for a page of each column.
const MAX_PROCESS_BYTES: u64 = 2 * MAX_BYTES as u64;
/// Time between two looks at the memory of the process.
const INTERVAL: Duration = Duration::from_millis(20);

/// True if the file at `path` begins as a Parquet file does.
///
/// # Errors
/// When it is not a regular file, or cannot be read.
pub(crate) fn is_parquet(path: &Path) -> Result<bool> {
    let mut start = Vec::new();
    let file = regular_file::open(path)?.file;
    let reading = || format!("reading {}", path.display());
    file.take(MAGIC.len() as u64).read_to_end(&mut start).with_context(reading)?;
    Ok(start == MAGIC)
}

/// Rows of the Parquet file at `path` with their numbers, counted from 1.
///
/// # Errors
/// When the file is damaged or its rows need too much memory.
pub(crate) fn read(path: &Path) -> Result<Vec<(usize, Value)>> {
    let file = regular_file::open(path)?.file;
    let rows = read_on_thread(file, MAX_PROCESS_BYTES);
    rows.with_context(|| format!("{} is not a readable Parquet file", path.display()))
}

/// Rows of `file`. Reading is given up when the process has taken more than `max_process_bytes`. A
/// thread cannot be ended from outside: it goes on until the program ends, which is what programs
/// do with the error.
pub(crate) fn read_on_thread(file: File, max_process_bytes: u64) -> Result<Vec<(usize, Value)>> {
    let before = resident_bytes().unwrap_or(0);
    let read = move || read_rows(file, MAX_BYTES);
    let mut rows = spawn_untrusted_call("its pages are invalid", read)?;
    loop {
        if let Some(rows) = rows.wait(INTERVAL) {
            return rows;
        }
        let taken = resident_bytes().unwrap_or(0).saturating_sub(before);
        ensure!(
            taken <= max_process_bytes,
            "its pages need more than the limit of {max_process_bytes} bytes"
        );
    }
}

/// Rows of `file`, which take at most `max_bytes` of memory.
pub(crate) fn read_rows(file: File, max_bytes: usize) -> Result<Vec<(usize, Value)>> {
    let reader = SerializedFileReader::new(file)?;
    for column in reader.metadata().row_groups().iter().flat_map(|group| group.columns()) {
        let codec = column.compression();
        ensure!(
            matches!(codec, Compression::UNCOMPRESSED | Compression::SNAPPY | Compression::ZSTD(_)),
            "it is compressed by {codec}: write it again with snappy or zstd"
        );
    }
    let mut n_bytes = 0;
    let row = |(number, row): (usize, parquet::errors::Result<parquet::record::Row>)| {
        let row = row?.to_json_value();
        n_bytes += memory(&row);
        ensure!(n_bytes <= max_bytes, "its rows need more than the limit of {max_bytes} bytes");
        Ok((number, row))
    };
    (1..).zip(reader.get_row_iter(None)?).map(row).collect()
}

/// Memory of a value in bytes, nearly.
fn memory(value: &Value) -> usize {
    let content = match value {
        Value::String(text) => text.len(),
        Value::Array(values) => values.iter().map(memory).sum(),
        Value::Object(fields) => {
            fields.iter().map(|(key, value)| size_of::<Value>() + key.len() + memory(value)).sum()
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => 0,
    };
    size_of::<Value>() + content
}
