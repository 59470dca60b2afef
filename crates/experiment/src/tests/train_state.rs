//! The weights that a checkpoint belongs to.

use anyhow::Result;
use candle_core::{DType, Device};
use tensor_core::quantized::{Quantization, QuantizedMatrix};
use tensor_core::{AdamWConfig, Init, Parameters, WeightDecay};

use crate::TrainState;
use crate::train_state::parameters_sha256;

/// A trained parameter beside a matrix with these blocks, which a layer of one row reads.
fn beside_quantized(format: Quantization, columns: usize, blocks: &[u8]) -> Result<Parameters> {
    let matrix = QuantizedMatrix::new(format, 1, columns, blocks.to_vec())?;
    let mut parameters = Parameters::seeded(1, DType::F32, &Device::Cpu);
    parameters.root().parameter("norm", 2, Init::Ones, WeightDecay::No)?;
    Ok(parameters.with_quantized([("weight".to_string(), matrix)].into()))
}

/// Blocks of a row of 18 · 32 numbers in Q8_0 (34 bytes each), or of 34 · 32 in Q4_0 (18 each).
fn blocks() -> Vec<u8> {
    (0..34 * 18).map(|i| (i % 29) as u8).collect()
}

#[test]
fn the_hash_of_weights_covers_each_byte_of_quantized_matrices_and_their_format() -> Result<()> {
    let sha256 = |format, columns, blocks: &[u8]| {
        parameters_sha256(&beside_quantized(format, columns, blocks)?)
    };
    let q8_0 = sha256(Quantization::Q8_0, 18 * 32, &blocks())?;
    assert_eq!(q8_0, sha256(Quantization::Q8_0, 18 * 32, &blocks())?);
    for i in [0, 17, 34 * 18 - 1] {
        let mut changed = blocks();
        changed[i] ^= 1;
        assert_ne!(q8_0, sha256(Quantization::Q8_0, 18 * 32, &changed)?, "byte {i}");
    }
    assert_ne!(q8_0, sha256(Quantization::Q4_0, 34 * 32, &blocks())?, "other numbers");
    Ok(())
}

#[test]
fn a_checkpoint_belongs_to_the_quantized_weights_it_was_trained_beside() -> Result<()> {
    let state = |blocks: &[u8]| -> Result<TrainState> {
        let parameters = beside_quantized(Quantization::Q8_0, 18 * 32, blocks)?;
        TrainState::new(parameters, AdamWConfig::default())
    };
    let folder = tempfile::tempdir()?;
    state(&blocks())?.save(folder.path(), "these")?;
    state(&blocks())?.restore(folder.path(), "these")?;
    let mut changed = blocks();
    changed[40] ^= 1;
    let error = state(&changed)?.restore(folder.path(), "these").expect_err("another matrix");
    let error = error.to_string();
    assert!(error.contains("other frozen weights than this model has, or by an e"), "{error}");
    Ok(())
}
