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
fn tensors_come_back_as_they_were_saved_and_the_same_ones_give_the_same_bytes() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let (one, two) = (folder.path().join("one"), folder.path().join("two"));
    weights::save(&one, &tensors()?)?;
    weights::save(&two, &tensors()?)?;
    assert_eq!(fs::read(&one)?, fs::read(&two)?);
    let opened = weights::load(&one)?;
    assert_eq!(opened.keys().collect::<Vec<_>>(), ["a", "b"]);
    assert_eq!(opened["b"].to_vec2::<f32>()?, [[0., 3.], [1., 4.], [2., 5.]]);
    Ok(())
}

#[test]
fn a_truncated_file_is_an_error_that_names_it() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("weights");
    weights::save(&path, &tensors()?)?;
    let bytes = fs::read(&path)?;
    for length in [0, 4, 20, bytes.len() - 1] {
        fs::write(&path, &bytes[..length])?;
        let error = format!("{:#}", weights::load(&path).unwrap_err());
        assert!(error.contains("weights is no whole safetensors file"), "{error}");
    }
    Ok(())
}

#[test]
fn a_failed_write_leaves_no_file_behind_and_the_old_one_untouched() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("file");
    atomic_file::write(&path, b"old")?;
    assert!(atomic_file::write(&path.join("below"), b"new").is_err()); // `file` is no folder
    assert_eq!(fs::read(&path)?, b"old");
    atomic_file::write(&path, b"new")?;
    assert_eq!(fs::read(&path)?, b"new");
    assert_eq!(fs::read_dir(folder.path())?.count(), 1);
    Ok(())
}
