//! Damaged safetensors files: eight bytes of header length, a JSON header with the offsets of each
//! tensor, then the data.

use proptest::prelude::*;
use tensor_core::weights;

use super::bytes::{damage, damaged};
use super::{checked_open, golden};

/// Opens a file of this header and `data` zero bytes.
fn open(header: &str, length: u64, data: usize) -> Result<(), String> {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("model.safetensors");
    let bytes = [&length.to_le_bytes()[..], header.as_bytes(), &vec![0; data]].concat();
    std::fs::write(&path, bytes).expect("a file");
    checked_open(&path, || weights::load(&path)).map(drop)
}

/// Opens a file with these header entries and 32 bytes of data.
fn open_entries(entries: &str) -> Result<(), String> {
    let header = format!("{{{entries}}}");
    open(&header, header.len() as u64, 32)
}

#[test]
fn an_inconsistent_header_is_rejected() {
    let a = r#""a":{"dtype":"F32","shape":[4],"data_offsets":[0,16]}"#;
    let b = |offsets: &str| {
        format!(r#"{a},"b":{{"dtype":"F32","shape":[4],"data_offsets":{offsets}}}"#)
    };
    assert_eq!(open_entries(&b("[16,32]")), Ok(()));
    let open_shape = |dtype: &str, shape: &str| {
        open_entries(&format!(r#""a":{{"dtype":"{dtype}","shape":{shape},"data_offsets":[0,32]}}"#))
    };
    assert_eq!(open_shape("F32", "[2,4]"), Ok(()));
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
        assert!(open_entries(&b(offsets)).is_err(), "{offsets}");
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
        assert!(open_shape("F32", shape).is_err(), "{shape}");
    }
    for dtype in ["F31", "BOOL", "I8", "U64", "F4", "F8_E8M0", "C64", ""] {
        let _ = open_shape(dtype, "[32]");
        let _ = open_shape(dtype, "[4]");
        let _ = open_shape(dtype, "[64]");
    }
    // Of two tensors with one name the last counts, as in the reference reader, so the bytes of the
    // first belong to no tensor.
    let duplicate = r#""a":{"dtype":"F32","shape":[4],"data_offsets":[16,32]}"#;
    assert!(open_entries(&format!("{a},{duplicate}")).is_err());
    assert!(open_entries(&format!(r#"{},"__metadata__":{{"format":3}}"#, b("[16,32]"))).is_err());
    assert!(open_entries(&format!(r#""a":{}"#, "[".repeat(10_000))).is_err());
    for length in [0, 1, 7, 8, 100, 1 << 20, 1 << 32, 1 << 60, u64::MAX - 8, u64::MAX] {
        assert!(open(&format!("{{{a}}}"), length, 16).is_err(), "a header of {length} bytes");
    }
    assert!(open("", 0, 0).is_err());
}

#[test]
fn a_git_lfs_pointer_is_named_as_one() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("model.safetensors");
    let pointer = "version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 269060552\n";
    std::fs::write(&path, pointer).expect("a file");
    let error = checked_open(&path, || weights::load(&path)).expect_err("not weights");
    assert!(error.contains("git lfs pull"), "{error}");
}

#[test]
fn a_tensor_may_have_no_elements_but_not_a_name_of_a_megabyte() {
    let empty = r#""a":{"dtype":"F32","shape":[0,4],"data_offsets":[0,0]}"#;
    let header = format!("{{{empty}}}");
    assert_eq!(open(&header, header.len() as u64, 0), Ok(()));
    let name = "n".repeat(1 << 20);
    let header = format!(r#"{{"{name}":{{"dtype":"F32","shape":[4],"data_offsets":[0,16]}}}}"#);
    let error = open(&header, header.len() as u64, 16).expect_err("a long name");
    assert!(error.contains("a name of 1048576 bytes"), "{error}");
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 400, failure_persistence: None, ..Default::default()
    })]

    #[test]
    fn loading_never_panics_on_a_damaged_safetensors_file(
        damages in damage(),
        whole_file in any::<bool>(),
    ) {
        let bytes = std::fs::read(golden("llama/model.safetensors")).expect("a file");
        let header = 8 + usize::from(bytes[0]) + 256 * usize::from(bytes[1]);
        let header_len = if whole_file { bytes.len() } else { header };
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("model.safetensors");
        std::fs::write(&path, damaged(bytes, header_len, &damages)).expect("a file");
        let _ = checked_open(&path, || weights::load(&path));
    }
}
