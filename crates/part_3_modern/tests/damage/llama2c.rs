//! Damaged llama2.c checkpoints (seven sizes and the weights) and tokenizers (length-prefixed
//! tokens).

use std::path::PathBuf;

use proptest::prelude::*;
use tempfile::TempDir;

use super::bytes::{damage, damaged};
use super::load_and_generate;

/// dim, hidden_dim, n_layers, n_heads, n_kv_heads, vocab_size, seq_len.
const SIZES: [i32; 7] = [8, 12, 2, 2, 1, 262, 16];
/// Number of weights in such a file: embedding, norms, q, k, v, o, MLP, last norm, RoPE.
const COUNT: usize = 262 * 8 + 2 * (2 * 8 + 64 + 32 + 32 + 64 + 3 * 96) + 8 + 16 * 4;

fn model() -> Vec<u8> {
    let numbers = (0..COUNT).flat_map(|i| ((i as f32).sin() / 4.).to_le_bytes());
    SIZES.into_iter().flat_map(i32::to_le_bytes).chain(numbers).collect()
}

/// Tokenizer file of the byte tokens and three more.
fn tokenizer() -> Vec<u8> {
    let special = ["<unk>", "\n<s>\n", "\n</s>\n"].map(String::from).into_iter();
    let pieces = special.chain((0..=255u8).map(|byte| format!("<0x{byte:02X}>")));
    let pieces = pieces.chain([" ", "a", " a"].map(String::from)).zip(0u16..);
    let entry = |(piece, score): (String, u16)| {
        let score = f32::from(score).to_le_bytes();
        [&score[..], &(piece.len() as i32).to_le_bytes(), piece.as_bytes()].concat()
    };
    [7u32.to_le_bytes().to_vec(), pieces.flat_map(entry).collect()].concat()
}

/// Folder of these two files.
fn folder(model: &[u8], tokenizer: &[u8]) -> (TempDir, PathBuf) {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("model.bin");
    std::fs::write(&path, model).expect("a file");
    std::fs::write(folder.path().join("tokenizer.bin"), tokenizer).expect("a file");
    (folder, path)
}

#[test]
fn undamaged_llama2c_files_load_and_generate() {
    let (folder, path) = folder(&model(), &tokenizer());
    assert_eq!(load_and_generate(folder.path(), &path), Ok(()));
}

/// A shorter context is undetectable if the file has the matching length.
#[test]
fn sizes_that_match_the_file_length_are_accepted() {
    let mut model = model();
    model[6 * 4] = 8; // seq_len: the RoPE tables are shorter by 8 positions
    model.truncate(model.len() - 8 * 4 * 4);
    let (folder, path) = folder(&model, &tokenizer());
    assert_eq!(load_and_generate(folder.path(), &path), Ok(()));
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 400, failure_persistence: None, ..Default::default()
    })]

    #[test]
    fn loading_never_panics_on_a_damaged_checkpoint(damages in damage(), header in any::<bool>()) {
        let model = model();
        let header_len = if header { 28 } else { model.len() };
        let (folder, path) = folder(&damaged(model, header_len, &damages), &tokenizer());
        let _ = load_and_generate(folder.path(), &path);
    }

    #[test]
    fn loading_never_panics_on_a_damaged_tokenizer(damages in damage()) {
        let tokenizer = tokenizer();
        let end = tokenizer.len();
        let (folder, path) = folder(&model(), &damaged(tokenizer, end, &damages));
        let _ = load_and_generate(folder.path(), &path);
    }
}
