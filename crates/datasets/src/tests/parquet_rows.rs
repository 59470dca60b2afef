//! Parquet files, which pyarrow wrote (`scripts/golden_parquet.py`), and damaged ones.

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use anyhow::Result;
use serde_json::Value;

use crate::json_rows::read_parsed;
use crate::parquet_rows::{read_on_thread, read_rows};
use crate::{ExampleColumns, read_examples};

fn golden(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(name)
}

fn rows(path: PathBuf) -> Result<Vec<Value>> {
    read_parsed(&[path], |row| Ok(row.clone()))
}

#[test]
fn rows_equal_those_of_the_same_table_as_json_lines() -> Result<()> {
    let expected = rows(golden("rows.jsonl"))?;
    assert_eq!(expected.len(), 7);
    for name in ["snappy.parquet", "zstd.parquet", "plain.parquet"] {
        assert_eq!(rows(golden(name))?, expected, "{name}");
    }
    Ok(())
}

#[test]
fn a_list_of_structs_is_a_conversation() -> Result<()> {
    let columns = ExampleColumns::parse("messages=messages")?;
    let error = read_examples(&[golden("zstd.parquet")], Some(&columns)).unwrap_err();
    assert!(format!("{error:#}").contains("zstd.parquet:1: `messages` is empty"), "{error:#}");
    let columns = ExampleColumns::parse("text=answer")?;
    let error = read_examples(&[golden("snappy.parquet")], Some(&columns)).unwrap_err();
    assert!(format!("{error:#}").contains("`answer` must be a string, but is 0"), "{error:#}");
    Ok(())
}

#[test]
fn files_that_cannot_be_read_are_errors_with_a_remedy() -> Result<()> {
    let error = |path: PathBuf| format!("{:#}", rows(path).unwrap_err());
    let gzip = error(golden("gzip.parquet"));
    assert!(gzip.contains("compressed by GZIP") && gzip.contains("snappy or zstd"), "{gzip}");
    assert!(error(golden("empty.parquet")).contains("empty.parquet has no rows"));
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("a.parquet");
    fs::write(&path, "PAR1....")?;
    assert!(error(path).contains("a.parquet is not a readable Parquet file: "));
    let limited = read_rows(File::open(golden("plain.parquet"))?, 1000).unwrap_err();
    assert!(limited.to_string().contains("more than the limit of 1000 bytes"), "{limited}");
    Ok(())
}

#[test]
fn a_small_file_whose_pages_unpack_to_all_of_the_memory_is_given_up() -> Result<()> {
    let path = golden("large_pages.parquet"); // 9 kB, eight pages of 32 MiB
    assert!(fs::metadata(&path)?.len() < 10_000);
    let limited = read_on_thread(File::open(&path)?, 1 << 20).unwrap_err();
    assert!(limited.to_string().contains("more than the limit of 1048576 bytes"), "{limited}");
    Ok(())
}

/// The reader of rows panics at some of these files.
#[test]
fn a_flipped_or_missing_byte_gives_rows_or_an_error() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("a.parquet");
    for name in ["plain.parquet", "zstd.parquet"] {
        let whole = fs::read(golden(name))?;
        let (mut n, mut n_errors) = (0, 0);
        for at in (4..whole.len()).step_by(61) {
            let mut flipped = whole.clone();
            flipped[at] ^= if at % 2 == 0 { 0x80 } else { 0x04 };
            for bytes in [&flipped[..], &whole[..at]] {
                fs::write(&path, bytes)?;
                n += 1;
                n_errors += usize::from(rows(path.clone()).is_err());
            }
        }
        assert!(n_errors > n / 2, "{name}: {n_errors} of {n}");
    }
    Ok(())
}
