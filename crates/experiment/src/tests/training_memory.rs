use crate::flags::Optim;
use crate::training_memory::ensure_fits_in;

#[test]
fn a_model_larger_than_the_free_memory_is_refused() {
    assert!(ensure_fits_in(1e9, Optim::AdamW, 16e9).is_ok());
    assert!(ensure_fits_in(1e9, Optim::AdamW8Bit, 10e9).is_ok());
    let error = ensure_fits_in(1e9, Optim::AdamW8Bit, 9.9e9).unwrap_err().to_string();
    assert!(error.contains("10.0 GB") && error.contains("10 bytes each"), "{error}");
    let error = ensure_fits_in(1e9, Optim::AdamW, 15.9e9).unwrap_err().to_string();
    assert!(error.contains("1000.0 million parameters") && error.contains("16.0 GB"), "{error}");
    assert!(ensure_fits_in(1e9, Optim::Muon, 12e9).is_ok());
    let error = ensure_fits_in(1e9, Optim::Muon, 11.9e9).unwrap_err().to_string();
    assert!(error.contains("12 bytes each") && error.contains("Muon's momentum"), "{error}");
}
