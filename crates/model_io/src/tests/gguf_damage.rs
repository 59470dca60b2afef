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
fn common_wrong_file_types_are_recognized() {
    let mut big = b"GGUF".to_vec();
    big.extend(3u32.to_be_bytes());
    for (bytes, expected) in [
        (&b"version https://git-lfs.github.com/spec/v1\noid sha256:0"[..], "git lfs pull"),
        (b"<!doctype html><html>", "error page from a web server"),
        (b"\n\n<html>", "error page from a web server"),
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
            message.contains("model.gguf cannot be used: ") && message.contains(expected),
            "{message}"
        );
        assert!(!message.contains('\n'), "{message}");
    }
}

#[test]
fn damaged_headers_are_refused() {
    let two = |change: fn(&mut Writer)| {
        let mut file = Writer::new()
            .tensor("a", &[2, 32], TensorFormat::Quantized(Quantization::Q8_0))
            .tensor("b", &[32], TensorFormat::F32);
        change(&mut file);
        refused(&file)
    };
    for (message, expected) in [
        (two(|file| file.tensors[1].name = "a".into()), "there are two tensors `a`"),
        (two(|file| file.tensors[1].offset = 32), "tensors `a` and `b` overlap"),
        (two(|file| file.tensors[1].offset = 0), "overlap"),
        (two(|file| file.tensors[0].dims = vec![31]), "not a multiple of Q8_0's block size 32"),
        (two(|file| file.tensors[0].dims = vec![32, 0]), "it is empty: [0, 32]"),
        (two(|file| file.tensors[0].dims = vec![1; 5]), "5 dimensions, the maximum is 4"),
        (two(|file| file.tensors[1].dims = vec![1 << 40; 2]), "tensor `b`: its size"),
        (two(|file| file.tensors[1].dims = vec![1 << 60]), "truncated or damaged"),
        (two(|file| file.tensors[1].dims = vec![1 << 62]), "is too large"),
        (two(|file| file.tensors[1].dims = vec![33]), "truncated or damaged"),
        (two(|file| file.tensors[1].ggml_type = 13), "tensor `b`: its format is Q5_K, which"),
        (two(|file| file.tensors[1].ggml_type = 99), "convert the file to one of F32, F16, BF16,"),
        (two(|file| file.tensors[1].ggml_type = 4), "format is number 4"),
        (two(|file| file.metadata = vec![("k".into(), 0, vec![1]); 2]), "has `k` twice"),
        (two(|file| file.metadata = vec![("k".into(), 7, vec![2])]), "a boolean is 2"),
        (two(|file| file.metadata = vec![("k".into(), 13, vec![])]), "unknown value type 13"),
    ] {
        assert!(message.contains(expected), "{message}");
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
    assert!(refused(&bad).contains("`k`: element 1: the string \"\u{FFFD}\" is not UTF-8"));
    let deep = (0..10_000).fold(array(0, &[]), |inner, _| array(9, &[inner]));
    assert!(refused(&Writer::new().value("k", 9, deep)).contains("more than 8 deep"));
}

/// A header may state 2^60 elements of any kind, in a file of any stated length. The error must
/// come before a large allocation.
#[test]
fn huge_counts_in_a_header_fail_before_allocating() {
    let huge = (1u64 << 60).to_le_bytes();
    let start = |tensors: &[u8], values: &[u8]| [b"GGUF\x03\0\0\0", tensors, values].concat();
    let zero = [0; 8];
    let one = 1u64.to_le_bytes();
    let value = |rest: &[&[u8]]| [start(&zero, &one), string("k"), rest.concat()].concat();
    let kind = |kind: u32| kind.to_le_bytes();
    let mut headers = vec![start(&huge, &zero), start(&zero, &huge), value(&[&kind(8), &huge])];
    headers.push([start(&zero, &one), huge.to_vec()].concat()); // length of a key
    headers.push([start(&one, &zero), huge.to_vec()].concat()); // length of a tensor name
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
    #![proptest_config(ProptestConfig {
        cases: 2000, failure_persistence: None, ..Default::default()
    })]

    #[test]
    fn a_truncated_file_is_refused(cut in 0.0..1.0f64) {
        let file = sample().file();
        let bytes = &file[..(cut * file.len() as f64) as usize];
        prop_assert!(check_header(bytes, bytes.len() as u64).is_err());
        let header = sample().header(); // the stated length is right, but bytes are missing
        let bytes = &header[..(cut * header.len() as f64) as usize];
        prop_assert!(check_header(bytes, file.len() as u64).is_err());
    }

    #[test]
    fn damaged_bytes_never_panic(
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
        huge in any::<bool>(),
    ) {
        let mut header = sample().header();
        let length = if huge { u64::MAX } else { sample().file().len() as u64 };
        for (index, byte) in changes {
            let offset = index.index(header.len());
            header[offset] = byte;
        }
        let _ = check_header(&header, length);
    }

    #[test]
    fn random_bytes_never_panic(
        bytes in prop::collection::vec(any::<u8>(), 0..300),
        small in any::<bool>(),
    ) {
        // Small numbers are more often valid types and counts.
        let reduced = bytes.into_iter().map(|byte| if small { byte % 14 } else { byte });
        let bytes: Vec<u8> = reduced.collect();
        let _ = check_header(&bytes, bytes.len() as u64);
        let counts = [b"GGUF\x03\0\0\0\x02\0\0\0\0\0\0\0\x03\0\0\0\0\0\0\0", &bytes[..]].concat();
        let _ = check_header(&counts, counts.len() as u64 + 1000);
    }
}

#[test]
fn a_split_file_is_refused_with_the_command_to_merge() -> Result<()> {
    let message = |files: u16| -> Result<String> {
        let part = sample().value("split.count", 2, files.to_le_bytes()).file();
        Ok(error(gguf_model::open(&open(&part)?, LoadMode::Inference, &Device::Cpu)))
    };
    let error = message(3)?;
    assert!(error.contains("one of 3 files") && error.contains("--merge"), "{error}");
    assert!(!message(1)?.contains("--merge"));
    Ok(())
}
