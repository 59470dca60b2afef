use std::time::Instant;

use anyhow::Result;
use candle_core::quantized::{GgmlDType, QStorage, QTensor};
use candle_core::{DType, Device};
use proptest::prelude::*;

use super::writer::{Writer, array, string};
use super::{course_data, error};
use crate::gguf::{Array, Format, Gguf, Value, check_header};

/// A small file with one value of each type and one tensor of each format.
fn sample() -> Writer {
    let tokens = ["a", "", "é"].map(string);
    let writer = Writer::new()
        .value("general.architecture", 8, string("llama"))
        .value("u8", 0, [200])
        .value("i8", 1, (-3i8).to_le_bytes())
        .value("u16", 2, 60_000u16.to_le_bytes())
        .value("i16", 3, (-300i16).to_le_bytes())
        .value("llama.block_count", 4, 30u32.to_le_bytes())
        .value("i32", 5, (-70_000i32).to_le_bytes())
        .value("llama.rope.freq_base", 6, 1e5f32.to_le_bytes())
        .value("add_bos", 7, [1])
        .value("tokens", 9, array(8, &tokens))
        .value("types", 9, array(5, &[1i32, -6].map(|x| x.to_le_bytes().to_vec())))
        .value("nested", 9, array(9, &[array(7, &[vec![0], vec![1]]), array(0, &[])]))
        .value("u64", 10, (1u64 << 40).to_le_bytes())
        .value("i64", 11, (-1i64 << 40).to_le_bytes())
        .value("f64", 12, 0.1f64.to_le_bytes());
    let sizes = Format::ALL.into_iter().enumerate();
    sizes.fold(writer, |writer, (i, format)| {
        writer.tensor(&format!("t.{format}"), &[2, 1 + i as u64, 256], format)
    })
}

/// Opens these bytes as a file.
fn open(bytes: &[u8]) -> Result<Gguf> {
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("model.gguf");
    std::fs::write(&path, bytes)?;
    Gguf::open(&path)
}

/// The error for a file.
fn refused(writer: &Writer) -> String {
    error(open(&writer.file()))
}

#[test]
fn every_type_of_value_comes_back() -> Result<()> {
    let gguf = open(&sample().file())?;
    assert_eq!(gguf.string("general.architecture")?, "llama");
    assert_eq!(gguf.size("llama.block_count")?, 30);
    assert_eq!((gguf.size("u8")?, gguf.size("u16")?, gguf.size("u64")?), (200, 60_000, 1 << 40));
    assert_eq!(gguf.number("llama.rope.freq_base")?, 1e5);
    assert_eq!((gguf.number("i8")?, gguf.number("i16")?), (-3., -300.));
    assert_eq!((gguf.number("i32")?, gguf.number("i64")?), (-70_000., -(2f64.powi(40))));
    assert_eq!(gguf.number("f64")?, 0.1);
    assert!(gguf.boolean("add_bos")?);
    assert_eq!(gguf.strings("tokens")?, ["a", "", "é"]);
    assert_eq!(gguf.numbers("types")?, [1., -6.]);
    let nested = vec![Array::Bool(vec![false, true]), Array::U8(Vec::new())];
    assert_eq!(gguf.metadata("nested"), Some(&Value::Array(Array::Array(nested))));
    assert_eq!(gguf.metadata("i8"), Some(&Value::I8(-3)));
    assert_eq!(gguf.all_metadata().count(), 15);
    Ok(())
}

#[test]
fn a_wrong_key_or_type_is_named() -> Result<()> {
    let gguf = open(&sample().file())?;
    let message = error(gguf.size("llama.head_count"));
    assert!(message.ends_with("model.gguf has no metadata `llama.head_count`"), "{message}");
    let message = error(gguf.size("tokens"));
    assert!(message.ends_with("`tokens` is an array of strings, expected a size"), "{message}");
    assert!(error(gguf.size("i32")).contains("expected a size"));
    assert!(error(gguf.string("add_bos")).contains("is a boolean, expected a string"));
    assert!(error(gguf.numbers("tokens")).contains("expected an array of numbers"));
    assert!(error(gguf.read("nothing")).ends_with("model.gguf has no tensor `nothing`"));
    Ok(())
}

#[test]
fn tensors_have_their_dims_formats_and_bytes() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("model.gguf");
    for version in [2, 3] {
        let file = Writer { version, ..sample() };
        std::fs::write(&path, file.file())?;
        let gguf = Gguf::open(&path)?;
        assert_eq!(gguf.tensors().count(), Format::ALL.len());
        for ((i, format), entry) in Format::ALL.into_iter().enumerate().zip(&file.tensors) {
            let info = gguf.tensor(&entry.name)?;
            assert_eq!((&info.dims[..], info.format), (&[2, 1 + i, 256][..], format));
            assert_eq!(info.size_in_bytes(), entry.bytes.len());
            assert_eq!(gguf.read(&entry.name)?, entry.bytes, "{format}");
        }
        std::fs::write(&path, [file.file(), vec![0]].concat())?;
        assert!(error(gguf.read("t.F32")).contains("has changed since it was opened"));
    }
    Ok(())
}

#[test]
fn the_formats_are_those_of_candle() {
    for (format, theirs) in Format::ALL.into_iter().map(|format| (format, candle(format))) {
        assert_eq!(format.block_len(), theirs.block_size(), "{format}");
        assert_eq!(format.block_bytes(), theirs.type_size(), "{format}");
    }
}

fn candle(format: Format) -> GgmlDType {
    match format {
        Format::F32 => GgmlDType::F32,
        Format::F16 => GgmlDType::F16,
        Format::BF16 => GgmlDType::BF16,
        Format::Q4_0 => GgmlDType::Q4_0,
        Format::Q4_1 => GgmlDType::Q4_1,
        Format::Q8_0 => GgmlDType::Q8_0,
        Format::Q4K => GgmlDType::Q4K,
        Format::Q6K => GgmlDType::Q6K,
    }
}

#[test]
fn an_alignment_of_its_own_moves_the_data() -> Result<()> {
    for alignment in [1u32, 8, 4096] {
        let mut file = Writer::new().value("general.alignment", 4, alignment.to_le_bytes());
        file.alignment = u64::from(alignment);
        let file = file.tensor("a", &[3], Format::F32).tensor("b", &[5], Format::F16);
        assert!(check_header(&file.header(), file.file().len() as u64).is_ok());
        let folder = tempfile::tempdir()?;
        let path = folder.path().join("model.gguf");
        std::fs::write(&path, file.file())?;
        assert_eq!(Gguf::open(&path)?.read("b")?, [0, 1, 2, 3, 4, 5, 6, 7, 8, 9]);
    }
    for (kind, bytes) in [(4, &[0; 4][..]), (4, &[24, 0, 0, 0]), (10, &[32, 0, 0, 0, 0, 0, 0, 0])] {
        let message = refused(&Writer::new().value("general.alignment", kind, bytes));
        assert!(message.contains("expected a U32 power of two"), "{message}");
    }
    Ok(())
}

#[test]
fn usual_mistakes_are_recognised() {
    let mut big = b"GGUF".to_vec();
    big.extend(3u32.to_be_bytes());
    for (bytes, says) in [
        (&b"version https://git-lfs.github.com/spec/v1\noid sha256:0"[..], "git lfs pull"),
        (b"<!doctype html><html>", "a web page"),
        (b"\n\n<html>", "a web page"),
        (b"tjgg\x03\0\0\0", "before GGUF"),
        (b"PK\x03\x04....", "zip archive"),
        (b"GGUF\x01\0\0\0\0\0\0\0", "version 1 is not supported"),
        (&big, "big-endian"),
        (b"FUGG\0\0\0\x03", "big-endian"),
        (b"\x08\0\0\0\0\0\0\0{}", "it starts with \"\\\\x08\\\\x00"),
        (b"", "the file ends at byte 0"),
        (b"GGUF\x03", "the file ends at byte 5"),
    ] {
        let message = error(open(bytes));
        assert!(
            message.contains("model.gguf cannot be used: ") && message.contains(says),
            "{message}"
        );
        assert!(!message.contains('\n'), "{message}");
    }
}

#[test]
fn damaged_lists_are_refused() {
    let two = |change: fn(&mut Writer)| {
        let mut file =
            Writer::new().tensor("a", &[2, 32], Format::Q8_0).tensor("b", &[32], Format::F32);
        change(&mut file);
        refused(&file)
    };
    for (message, says) in [
        (two(|file| file.tensors[1].name = "a".into()), "there are two tensors `a`"),
        (two(|file| file.tensors[1].offset = 32), "tensors `a` and `b` overlap"),
        (two(|file| file.tensors[1].offset = 0), "overlap"),
        (two(|file| file.tensors[0].dims = vec![31]), "rows of 31 are no whole Q8_0 blocks of 32"),
        (two(|file| file.tensors[0].dims = vec![32, 0]), "it is empty: [0, 32]"),
        (two(|file| file.tensors[0].dims = vec![1; 5]), "5 dimensions, at most 4"),
        (two(|file| file.tensors[1].dims = vec![1 << 40; 2]), "tensor `b`: its size"),
        (two(|file| file.tensors[1].dims = vec![1 << 60]), "truncated or damaged"),
        (two(|file| file.tensors[1].dims = vec![1 << 62]), "is too large"),
        (two(|file| file.tensors[1].dims = vec![33]), "truncated or damaged"),
        (two(|file| file.tensors[1].ggml_type = 13), "tensor `b`: its format is Q5_K, which"),
        (two(|file| file.tensors[1].ggml_type = 99), "convert the file to one of F32, F16, BF16,"),
        (two(|file| file.tensors[1].ggml_type = 4), "format is number 4"),
        (two(|file| file.metadata = vec![("k".into(), 0, vec![1]); 2]), "has `k` twice"),
        (two(|file| file.metadata = vec![("k".into(), 7, vec![2])]), "a boolean is 2"),
        (two(|file| file.metadata = vec![("k".into(), 13, vec![])]), "no value type 13"),
    ] {
        assert!(message.contains(says), "{message}");
    }
    for offset in [8, 33] {
        let mut file = Writer::new().tensor("a", &[8], Format::F32);
        file.tensors[0].offset = offset;
        assert!(refused(&file).contains("is not aligned to 32"));
    }
    let mut header = Writer::new().tensor("a", &[8], Format::F32);
    header.tensors[0].offset = u64::MAX - 31; // a multiple of 32
    assert!(error(check_header(&header.header(), 1 << 20)).contains("outside of the file"));
    let long = Writer::new().value(&"k".repeat(70_000), 0, [0]);
    assert!(refused(&long).contains("key 0 of the metadata: it has 70000 bytes"));
    let bad =
        Writer::new().value("k", 9, array(8, &[string("a"), vec![1, 0, 0, 0, 0, 0, 0, 0, 255]]));
    assert!(refused(&bad).contains("`k`: element 1: the string \"\u{FFFD}\" is no UTF-8"));
    let deep = (0..10_000).fold(array(0, &[]), |inner, _| array(9, &[inner]));
    assert!(refused(&Writer::new().value("k", 9, deep)).contains("8 deep"));
}

/// A header may announce 2^60 of anything, in a file said to be huge as well: the error comes before any memory.
#[test]
fn announced_sizes_are_not_believed() {
    let huge = (1u64 << 60).to_le_bytes();
    let start = |tensors: &[u8], values: &[u8]| [b"GGUF\x03\0\0\0", tensors, values].concat();
    let none = [0; 8];
    let one = 1u64.to_le_bytes();
    let value = |rest: &[&[u8]]| [start(&none, &one), string("k"), rest.concat()].concat();
    let kind = |kind: u32| kind.to_le_bytes();
    let mut headers = vec![start(&huge, &none), start(&none, &huge), value(&[&kind(8), &huge])];
    headers.push([start(&none, &one), huge.to_vec()].concat()); // a key
    headers.push([start(&one, &none), huge.to_vec()].concat()); // a name
    headers.extend((0..13).map(|element| value(&[&kind(9), &kind(element), &huge])));
    for header in headers {
        for length in [header.len() as u64, 1 << 40, u64::MAX] {
            let padded = [&header[..], &[0; 64]].concat();
            let started = Instant::now();
            assert!(check_header(&padded, length).is_err());
            assert!(started.elapsed().as_secs() < 1);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, failure_persistence: None, ..Default::default() })]

    #[test]
    fn no_prefix_of_a_file_is_a_file(cut in 0.0..1.0f64) {
        let file = sample().file();
        let bytes = &file[..(cut * file.len() as f64) as usize];
        prop_assert!(check_header(bytes, bytes.len() as u64).is_err());
        let header = sample().header(); // the length is right, but the bytes run out
        let bytes = &header[..(cut * header.len() as f64) as usize];
        prop_assert!(check_header(bytes, file.len() as u64).is_err());
    }

    #[test]
    fn no_damage_makes_it_panic(
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
        huge in any::<bool>(),
    ) {
        let mut header = sample().header();
        let length = if huge { u64::MAX } else { sample().file().len() as u64 };
        for (index, byte) in changes {
            let at = index.index(header.len());
            header[at] = byte;
        }
        let _ = check_header(&header, length);
    }

    #[test]
    fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..300), small in any::<bool>()) {
        let bytes: Vec<u8> = bytes.into_iter().map(|byte| if small { byte % 14 } else { byte }).collect();
        let _ = check_header(&bytes, bytes.len() as u64);
        let counts = [b"GGUF\x03\0\0\0\x02\0\0\0\0\0\0\0\x03\0\0\0\0\0\0\0", &bytes[..]].concat();
        let _ = check_header(&counts, counts.len() as u64 + 1000);
    }
}

/// The values are those of the Python package `gguf`, whose readers are the format's own.
#[test]
fn smollm2_reads_as_in_python() -> Result<()> {
    let Some(path) = course_data("models/SmolLM2-135M-Instruct.Q4_1.gguf") else { return Ok(()) };
    let gguf = Gguf::open(&path)?;
    assert_eq!(gguf.string("general.architecture")?, "llama");
    assert_eq!(gguf.size("llama.attention.head_count_kv")?, 3);
    assert_eq!(gguf.number("llama.attention.layer_norm_rms_epsilon")? as f32, 1e-5);
    assert_eq!(gguf.strings("tokenizer.ggml.tokens")?.len(), 49_152);
    assert_eq!(gguf.strings("tokenizer.ggml.merges")?[0], "Ġ t");
    assert_eq!(gguf.all_metadata().count(), 33);
    let count = |format| gguf.tensors().filter(|(_, info)| info.format == format).count();
    assert_eq!((count(Format::Q4_1), count(Format::F32), count(Format::Q8_0)), (210, 61, 1));
    let lines =
        gguf.tensors().map(|(name, info)| format!("{name} {:?} {}\n", info.dims, info.format));
    assert_eq!(crc32(lines.collect::<String>().as_bytes()), 0x5365_c4a4);
    assert_eq!(crc32(gguf.strings("tokenizer.ggml.tokens")?.join("\n").as_bytes()), 0xbf32_a44b);
    assert_eq!(crc32(gguf.strings("tokenizer.ggml.merges")?.join("\n").as_bytes()), 0xbbee_10ef);
    assert_eq!(gguf.numbers("tokenizer.ggml.token_type")?.iter().sum::<f64>(), 49_186.);
    // Name, first number, last number, sum of absolute values.
    for (name, dims, first, last, sum) in [
        (
            "token_embd.weight",
            vec![49_152, 576],
            -0.106_544_495,
            -0.041_702_27,
            2_802_153.619_805_8,
        ),
        ("blk.0.attn_k.weight", vec![192, 576], -0.155_273_44, 0.363_647_46, 29_794.781_265_26),
        (
            "blk.29.ffn_down.weight",
            vec![576, 1536],
            -0.273_315_43,
            0.056_640_625,
            126_250.914_352_4,
        ),
        ("output_norm.weight", vec![576], 1.757_812_5, 1.984_375, 1_045.097_656_25),
    ] {
        let info = gguf.tensor(name)?;
        assert_eq!(info.dims, dims, "{name}");
        let bytes = gguf.read(name)?;
        let storage = QStorage::from_data(bytes.into(), &Device::Cpu, candle(info.format))?;
        let numbers = QTensor::new(storage, info.dims.clone())?.dequantize(&Device::Cpu)?;
        let numbers = numbers.flatten_all()?;
        let found: Vec<f32> = numbers.to_vec1()?;
        assert_eq!((found[0], *found.last().unwrap()), (first, last), "{name}");
        let found = numbers.to_dtype(DType::F64)?.abs()?.sum_all()?.to_scalar::<f64>()?;
        assert!((found - sum).abs() < 1e-6 * sum, "{name}: {found} {sum}");
    }
    Ok(())
}

fn crc32(bytes: &[u8]) -> u32 {
    let step = |crc: u32, _| (crc >> 1) ^ (0xEDB8_8320 & (crc & 1).wrapping_neg());
    !bytes.iter().fold(!0, |crc, &byte| (0..8).fold(crc ^ u32::from(byte), step))
}
