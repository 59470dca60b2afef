use tensor_core::MomentFormat::{Blockwise8Bit, Full};

use crate::training_memory::ensure_fits_in;

#[test]
fn a_model_larger_than_the_free_memory_is_refused() {
    assert!(ensure_fits_in(1e9, Full, 16e9).is_ok());
    assert!(ensure_fits_in(1e9, Blockwise8Bit, 10e9).is_ok());
    let error = ensure_fits_in(1e9, Blockwise8Bit, 9.9e9).unwrap_err().to_string();
    assert!(error.contains("10.0 GB") && error.contains("10 bytes each"), "{error}");
    let error = ensure_fits_in(1e9, Full, 15.9e9).unwrap_err().to_string();
    assert!(error.contains("1000.0 million parameters") && error.contains("16.0 GB"), "{error}");
}
