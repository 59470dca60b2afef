use std::path::{Path, PathBuf};

use anyhow::Result;
use candle_core::DType;
use proptest::prelude::*;
use serde_json::{Value, json};

use super::error;
use crate::pytorch_bin::load;
use crate::weight_files;

/// File and its content, written by `scripts/golden_pytorch_bin.py`.
fn golden(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(name)
}

#[test]
fn a_bin_file_of_pytorch_gives_its_weights_and_leaves_out_other_tensors() -> Result<()> {
    let tensors = load(&golden("pytorch.bin"))?;
    let expected: Value = serde_json::from_slice(&std::fs::read(golden("pytorch.json"))?)?;
    let expected = expected.as_object().expect("an object");
    assert!(tensors.keys().eq(expected.keys().collect::<std::collections::BTreeSet<_>>()));
    assert_eq!([tensors["f16"].dtype(), tensors["bf16"].dtype()], [DType::F16, DType::BF16]);
    for (name, tensor) in tensors {
        let tensor = tensor.to_dtype(DType::F32)?;
        let numbers = match tensor.rank() {
            0 => json!(tensor.to_scalar::<f32>()?),
            1 => json!(tensor.to_vec1::<f32>()?),
            _ => json!(tensor.to_vec2::<f32>()?),
        };
        assert_eq!(numbers, expected[&name], "{name}");
    }
    Ok(())
}

#[test]
fn a_folder_may_have_its_weights_as_bin_files_with_an_index() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let copy = |name: &str| std::fs::copy(golden("pytorch.bin"), folder.path().join(name));
    copy("pytorch_model.bin")?;
    assert!(weight_files::read(folder.path())?.contains_key("tied"));
    std::fs::remove_file(folder.path().join("pytorch_model.bin"))?;
    copy("pytorch_model-00001-of-00001.bin")?;
    let index = folder.path().join("pytorch_model.bin.index.json");
    let map = |file: &str| json!({ "weight_map": { "f16": file } }).to_string();
    std::fs::write(&index, map("pytorch_model-00001-of-00001.bin"))?;
    let names: Vec<String> = weight_files::read(folder.path())?.into_keys().collect();
    assert_eq!(names, ["f16"], "what the index does not list is left out");
    std::fs::write(&index, map("model.safetensors"))?;
    assert!(error(weight_files::read(folder.path())).contains("is not a .bin file of this folder"));
    Ok(())
}

/// Result of reading `bytes` as a `.bin` file.
fn read(bytes: &[u8]) -> Result<usize> {
    let file = tempfile::NamedTempFile::new()?;
    std::fs::write(file.path(), bytes)?;
    Ok(load(file.path())?.len())
}

/// A `.bin` file with the pickle `instructions` and no numbers.
fn with_pickle(instructions: &[u8]) -> Result<Vec<u8>> {
    let mut zip = zip::ZipWriter::new(std::io::Cursor::new(Vec::new()));
    let options =
        zip::write::SimpleFileOptions::default().compression_method(zip::CompressionMethod::Stored);
    zip.start_file("archive/data.pkl", options)?;
    std::io::Write::write_all(&mut zip, instructions)?;
    Ok(zip.finish()?.into_inner())
}

#[test]
fn a_pickle_that_is_not_a_dict_of_tensors_is_refused_without_running_it() -> Result<()> {
    let refused = |pickle: &[u8]| -> Result<String> { Ok(error(read(&with_pickle(pickle)?))) };
    let code = b"cos\nsystem\nX\x04\0\0\0true\x85R.";
    assert!(refused(code)?.contains("calls os.system, which is not part of a plain dict"));
    assert!(refused(b"}.")?.contains("it holds no tensors"));
    assert!(refused(b"K\x01.")?.contains("it does not hold a dict"));
    assert!(refused(b"}")?.contains("its pickle is truncated"));
    assert!(refused(b"X\xff\xff\xff\xffabc.")?.contains("its pickle is truncated"));
    assert!(refused(b"R.")?.contains("its stack is empty"));
    assert!(refused(b"\x87.")?.contains("its stack is empty"));
    assert!(refused(b"t.")?.contains("no mark"));
    assert!(refused(b"h\x07.")?.contains("recalls what it did not store"));
    assert!(refused(b"\x93.")?.contains("the instruction 0x93"));
    // Each tuple holds the one before twice: 2^1000 elements, if they were copied.
    let mut nested = b"K\x01".to_vec();
    (0..1000).for_each(|_| nested.extend(b"q\0h\0\x86"));
    assert!(refused(&nested)?.contains("tuples of depth 9"));
    assert!(error(read(b"PK")).contains("not a zip archive"));
    Ok(())
}

/// A pickle writes a shape or a name once, and mentions it in three bytes.
#[test]
fn a_long_shape_or_name_is_refused_before_it_is_copied() -> Result<()> {
    let refused = |pickle: &[u8]| -> Result<String> { Ok(error(read(&with_pickle(pickle)?))) };
    let tensor = |rank: usize| {
        let storage = b"(X\x07\0\0\0storagectorch\nFloatStorage\nX\x01\0\0\x000NNtQ";
        let shape = [&b"("[..], &b"K\x01".repeat(rank), b"t"].concat();
        let function = &b"ctorch._utils\n_rebuild_tensor_v2\n("[..];
        [function, storage, b"K\0", &shape, &shape, b"tR"].concat()
    };
    assert!(refused(&[&tensor(9)[..], b"."].concat())?.contains("a tensor of 9 dimensions"));
    let named = |name: &[u8]| {
        let length = (name.len() as u32).to_le_bytes();
        [&b"}X"[..], &length[..], name, &tensor(8), b"s."].concat()
    };
    assert!(refused(&named(&[b'w'; 1025]))?.contains("a tensor with a name of 1025 bytes"));
    assert!(refused(&named(&[b'w'; 1024]))?.contains("it has no archive/data/0"));
    let function = [&b"c"[..], &[b'f'; 1025], b"\n\n."].concat();
    assert!(refused(&function)?.contains("a function with a name of 1025 bytes"));
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn a_damaged_bin_file_is_opened_or_refused(
        place in any::<prop::sample::Index>(),
        byte in any::<u8>(),
        end in any::<prop::sample::Index>(),
        is_cut in any::<bool>(),
    ) {
        let mut bytes = std::fs::read(golden("pytorch.bin")).expect("the golden file");
        let place = place.index(bytes.len());
        bytes[place] = byte;
        if is_cut {
            bytes.truncate(end.index(bytes.len()));
        }
        if let Err(error) = read(&bytes) {
            let message = format!("{error:#}");
            prop_assert!(!message.contains('\n'), "{}", message);
        }
    }
}
