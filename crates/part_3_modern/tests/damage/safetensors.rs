//! A file of weights: eight bytes of length, a header in JSON that says where each tensor lies, the numbers.

use proptest::prelude::*;
use tensor_core::weights;

use super::bytes::{damage, damaged};
use super::{golden, tried};

/// The file of this header and so many bytes of data is tried.
fn opened(header: &str, length: u64, data: usize) -> Result<(), String> {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("model.safetensors");
    let bytes = [&length.to_le_bytes()[..], header.as_bytes(), &vec![0; data]].concat();
    std::fs::write(&path, bytes).expect("a file");
    tried(&path, || weights::load(&path)).map(drop)
}

/// A header of these entries, before 32 bytes of data.
fn entries(entries: &str) -> Result<(), String> {
    let header = format!("{{{entries}}}");
    opened(&header, header.len() as u64, 32)
}

#[test]
fn a_header_that_lies_is_refused() {
    let a = r#""a":{"dtype":"F32","shape":[4],"data_offsets":[0,16]}"#;
    let b = |offsets: &str| {
        format!(r#"{a},"b":{{"dtype":"F32","shape":[4],"data_offsets":{offsets}}}"#)
    };
    assert_eq!(entries(&b("[16,32]")), Ok(()));
    let shaped = |dtype: &str, shape: &str| {
        entries(&format!(r#""a":{{"dtype":"{dtype}","shape":{shape},"data_offsets":[0,32]}}"#))
    };
    assert_eq!(shaped("F32", "[2,4]"), Ok(()));
    for offsets in [
        "[0,16]",
        "[8,24]",
        "[16,40]",
        "[20,36]",
        "[32,16]",
        "[16]",
        "[-16,32]",
        "[16.0,32]",
        "[16,18446744073709551615]",
    ] {
        assert!(entries(&b(offsets)).is_err(), "{offsets}");
    }
    for shape in [
        "[9]",
        "[]",
        "[0]",
        "[[8]]",
        "[4294967296,4294967296,4294967296]",
        "[9223372036854775808,2]",
        "[-8]",
        "8",
    ] {
        assert!(shaped("F32", shape).is_err(), "{shape}");
    }
    for dtype in ["F31", "BOOL", "I8", "U64", "F4", "F8_E8M0", "C64", ""] {
        let _ = shaped(dtype, "[32]");
        let _ = shaped(dtype, "[4]");
        let _ = shaped(dtype, "[64]");
    }
    // Of two tensors of one name the last counts, as in the format's own reader; the other's bytes are then nobody's.
    let twice = r#""a":{"dtype":"F32","shape":[4],"data_offsets":[16,32]}"#;
    assert!(entries(&format!("{a},{twice}")).is_err());
    assert!(entries(&format!(r#"{},"__metadata__":{{"format":3}}"#, b("[16,32]"))).is_err());
    assert!(entries(&format!(r#""a":{}"#, "[".repeat(10_000))).is_err());
    for length in [0, 1, 7, 8, 100, 1 << 20, 1 << 32, 1 << 60, u64::MAX - 8, u64::MAX] {
        assert!(opened(&format!("{{{a}}}"), length, 16).is_err(), "a header of {length} bytes");
    }
    assert!(opened("", 0, 0).is_err());
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..Default::default() })]

    #[test]
    fn no_damage_makes_it_panic(damages in damage(), whole in any::<bool>()) {
        let bytes = std::fs::read(golden("llama/model.safetensors")).expect("a file");
        let header = 8 + usize::from(bytes[0]) + 256 * usize::from(bytes[1]);
        let within = if whole { bytes.len() } else { header };
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("model.safetensors");
        std::fs::write(&path, damaged(bytes, within, &damages)).expect("a file");
        let _ = tried(&path, || weights::load(&path));
    }
}
