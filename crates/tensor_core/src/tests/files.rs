use std::collections::BTreeMap;
use std::fs;

use anyhow::Result;
use candle_core::{Device, Tensor};

use crate::{atomic_file, weights};

fn tensors() -> Result<BTreeMap<String, Tensor>> {
    let a = Tensor::arange(0f32, 6., &Device::Cpu)?.reshape((2, 3))?;
    Ok(BTreeMap::from([("b".into(), a.t()?), ("a".into(), a)]))
}

#[test]
fn saved_tensors_load_unchanged_and_saving_is_deterministic() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let (one, two) = (folder.path().join("one"), folder.path().join("two"));
    weights::save(&one, &tensors()?)?;
    weights::save(&two, &tensors()?)?;
    assert_eq!(fs::read(&one)?, fs::read(&two)?);
    let loaded = weights::load(&one)?;
    assert_eq!(loaded.keys().collect::<Vec<_>>(), ["a", "b"]);
    assert_eq!(loaded["b"].to_vec2::<f32>()?, [[0., 3.], [1., 4.], [2., 5.]]);
    Ok(())
}

#[test]
fn a_truncated_safetensors_file_is_an_error_with_its_name() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("weights");
    weights::save(&path, &tensors()?)?;
    let bytes = fs::read(&path)?;
    for length in [0, 4, 20, bytes.len() - 1] {
        fs::write(&path, &bytes[..length])?;
        let error = format!("{:#}", weights::load(&path).unwrap_err());
        assert!(error.contains("weights is not a complete safetensors file"), "{error}");
    }
    Ok(())
}

#[test]
fn a_failed_write_keeps_the_old_file_and_leaves_no_partial_one() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("file");
    atomic_file::write(&path, b"old")?;
    assert!(atomic_file::write(&path.join("below"), b"new").is_err()); // `file` is not a folder
    assert_eq!(fs::read(&path)?, b"old");
    atomic_file::write(&path, b"new")?;
    assert_eq!(fs::read(&path)?, b"new");
    assert_eq!(fs::read_dir(folder.path())?.count(), 1);
    Ok(())
}
