use std::time::Instant;

use anyhow::Result;
use candle_core::Device;
use proptest::prelude::*;
use tensor_core::quantized::Quantization;

use super::error;
use super::gguf::{open, refused, sample};
use super::writer::{Writer, array, string};
use crate::gguf::{TensorFormat, check_header};
use crate::{LoadMode, gguf_model};

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
        let mut file = Writer::new()
            .tensor("a", &[2, 32], TensorFormat::Quantized(Quantization::Q8_0))
            .tensor("b", &[32], TensorFormat::F32);
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
        let mut file = Writer::new().tensor("a", &[8], TensorFormat::F32);
        file.tensors[0].offset = offset;
        assert!(refused(&file).contains("is not aligned to 32"));
    }
    let mut header = Writer::new().tensor("a", &[8], TensorFormat::F32);
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

#[test]
fn a_part_of_a_model_says_what_to_do() -> Result<()> {
    let message = |files: u16| -> Result<String> {
        let part = sample().value("split.count", 2, files.to_le_bytes()).file();
        Ok(error(gguf_model::open(&open(&part)?, LoadMode::Inference, &Device::Cpu)))
    };
    let three = message(3)?;
    assert!(three.contains("one of 3 files") && three.contains("--merge"), "{three}");
    assert!(!message(1)?.contains("--merge"));
    Ok(())
}
