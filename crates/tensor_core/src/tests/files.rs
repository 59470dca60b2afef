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

#[cfg(unix)]
#[test]
fn a_file_keeps_the_permissions_of_the_one_it_replaces_and_a_new_one_follows_the_umask()
-> Result<()> {
    use std::fs::Permissions;
    use std::os::unix::fs::PermissionsExt;

    let folder = tempfile::tempdir()?;
    let path = |name: &str| folder.path().join(name);
    let mode = |name: &str| anyhow::Ok(fs::metadata(path(name))?.permissions().mode() & 0o7777);
    fs::write(path("standard"), "")?; // as the standard library creates files, by the umask
    atomic_file::write(&path("new"), b"new")?;
    assert_eq!(mode("new")?, mode("standard")?);
    for replaced in [0o600, 0o640, 0o666, 0o400] {
        fs::set_permissions(path("new"), Permissions::from_mode(replaced))?;
        let temporary = atomic_file::create_temp_file(&path("new"))?;
        let for_others = temporary.as_file().metadata()?.permissions().mode() & 0o077;
        assert_eq!(for_others & !replaced, 0, "not even before it is complete");
        weights::save(&path("new"), &tensors()?)?;
        assert_eq!(mode("new")?, replaced);
    }
    Ok(())
}

#[cfg(unix)]
#[test]
fn a_link_stays_and_the_file_that_it_leads_to_is_replaced() -> Result<()> {
    use std::os::unix::fs::symlink;

    let folder = tempfile::tempdir()?;
    let path = |name: &str| folder.path().join(name);
    fs::create_dir(path("other"))?;
    fs::write(path("other/file"), "old")?;
    symlink("other/file", path("link"))?;
    symlink("link", path("link-to-link"))?;
    symlink("other/new", path("link-to-nothing"))?;
    for (name, target) in [("link", "file"), ("link-to-link", "file"), ("link-to-nothing", "new")] {
        atomic_file::write(&path(name), name.as_bytes())?;
        assert!(fs::symlink_metadata(path(name))?.is_symlink());
        assert_eq!(fs::read_to_string(path("other").join(target))?, name);
    }
    assert_eq!(fs::read_dir(path("other"))?.count(), 2, "no temporary file is left");
    symlink("circle", path("circle"))?;
    let error = atomic_file::write(&path("circle"), b"").unwrap_err().to_string();
    assert!(error.contains("circle leads over too many symbolic links"), "{error}");
    Ok(())
}

#[cfg(unix)]
#[test]
fn pipes_sockets_and_folders_are_not_replaced() -> Result<()> {
    use std::os::unix::fs::{FileTypeExt, symlink};
    use std::os::unix::net::UnixListener;
    use std::process::Command;

    let folder = tempfile::tempdir()?;
    let path = |name: &str| folder.path().join(name);
    assert!(Command::new("mkfifo").arg(path("pipe")).status()?.success());
    symlink("pipe", path("link-to-pipe"))?;
    let _socket = UnixListener::bind(path("socket"))?;
    fs::create_dir(path("folder"))?;
    for (name, kind) in [
        ("pipe", "a device or a pipe"),
        ("link-to-pipe", "a device or a pipe"),
        ("socket", "a device or a pipe"),
        ("folder", "a folder"),
    ] {
        for error in [
            atomic_file::write(&path(name), b"new").unwrap_err(),
            weights::save(&path(name), &tensors()?).unwrap_err(),
            atomic_file::create_temp_file(&path(name)).map(drop).unwrap_err(),
        ] {
            let error = format!("{error:#}");
            assert!(error.contains(&format!("{name} is {kind}, not a regular file")), "{error}");
        }
    }
    assert!(fs::metadata(path("link-to-pipe"))?.file_type().is_fifo());
    assert!(fs::metadata(path("socket"))?.file_type().is_socket());
    assert_eq!(fs::read_dir(folder.path())?.count(), 4);
    Ok(())
}

#[cfg(unix)]
#[test]
fn devices_pipes_and_folders_are_not_read() -> Result<()> {
    use std::os::unix::fs::symlink;
    use std::process::Command;

    use crate::{MappedFile, json_file, regular_file};

    let folder = tempfile::tempdir()?;
    let path = |name: &str| folder.path().join(name);
    symlink("/dev/zero", path("device"))?;
    assert!(Command::new("mkfifo").arg(path("pipe")).status()?.success());
    std::fs::create_dir(path("folder"))?;
    for (name, kind) in [("device", "a device"), ("pipe", "a pipe"), ("folder", "a folder")] {
        let path = path(name);
        for error in [
            weights::load(&path).map(drop).unwrap_err(),
            json_file::read(&path).map(drop).unwrap_err(),
            json_file::read_or_null(&path).map(drop).unwrap_err(),
            MappedFile::open(&path).map(drop).unwrap_err(),
            regular_file::read(&path, 9).map(drop).unwrap_err(),
        ] {
            let error = format!("{error:#}");
            assert!(error.contains(name) && error.contains(kind), "{error}");
        }
    }
    std::fs::write(path("file"), "0123456789")?;
    symlink(path("file"), path("link"))?;
    assert_eq!(regular_file::read(&path("link"), 10)?, b"0123456789");
    let error = regular_file::read(&path("link"), 9).unwrap_err().to_string();
    assert!(error.contains("10 bytes, more than the limit of 9"), "{error}");
    Ok(())
}

/// The length of a sparse file says nothing about what it holds.
#[test]
fn weights_longer_than_their_header_claims_are_an_error_before_they_are_read() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("model.safetensors");
    weights::save(&path, &tensors()?)?;
    std::fs::OpenOptions::new().write(true).open(&path)?.set_len(1 << 32)?;
    let error = format!("{:#}", weights::load(&path).unwrap_err());
    assert!(error.contains("is not a complete safetensors file"), "{error}");
    Ok(())
}
