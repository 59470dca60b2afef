use std::path::Path;

use anyhow::Result;
use serde_json::{Value, json};

use crate::weight_files::read;

/// Writes a safetensors file with the `header` and 16 bytes of numbers.
fn write(path: &Path, header: &Value) -> Result<()> {
    let header = header.to_string();
    let bytes = [&(header.len() as u64).to_le_bytes()[..], header.as_bytes(), &[0; 16]].concat();
    Ok(std::fs::write(path, bytes)?)
}

fn names(folder: &Path) -> Result<Vec<String>> {
    Ok(read(folder)?.into_keys().collect())
}

#[test]
fn tensors_of_types_that_cannot_be_weights_do_not_keep_a_file_from_opening() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let header = json!({
        "causal_mask": { "dtype": "BOOL", "shape": [4], "data_offsets": [0, 4] },
        "ids": { "dtype": "U16", "shape": [2], "data_offsets": [4, 8] },
        "weight": { "dtype": "F32", "shape": [2], "data_offsets": [8, 16] },
    });
    write(&folder.path().join("model.safetensors"), &header)?;
    assert_eq!(names(folder.path())?, ["weight"]);
    Ok(())
}

#[test]
fn a_shard_may_hold_tensors_that_the_index_does_not_list() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let header = json!({
        "unused": { "dtype": "F32", "shape": [2], "data_offsets": [0, 8] },
        "weight": { "dtype": "F32", "shape": [2], "data_offsets": [8, 16] },
    });
    write(&folder.path().join("a.safetensors"), &header)?;
    let index = json!({ "weight_map": { "weight": "a.safetensors" } });
    std::fs::write(folder.path().join("model.safetensors.index.json"), index.to_string())?;
    assert_eq!(names(folder.path())?, ["weight"]);
    Ok(())
}
