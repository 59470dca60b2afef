use crate::training_memory::ensure_fits_in;

#[test]
fn a_model_larger_than_the_free_memory_is_refused() {
    assert!(ensure_fits_in(1e9, 16e9).is_ok());
    let error = ensure_fits_in(1e9, 15.9e9).unwrap_err().to_string();
    assert!(error.contains("1000.0 million parameters") && error.contains("16.0 GB"), "{error}");
}
