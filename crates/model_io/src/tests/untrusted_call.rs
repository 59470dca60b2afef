use std::thread;

use anyhow::Result;
use tensor_core::threads::UNTRUSTED_CALL;

use super::error;
use crate::untrusted_call::UntrustedCode;

/// Programs do not print a panic on a thread of this name.
#[test]
fn a_panic_in_a_template_is_an_error_that_says_its_cause() -> Result<()> {
    let code = UntrustedCode::default();
    let name = code.run("the chat template", || Ok(thread::current().name().map(String::from)))?;
    assert_eq!(name.as_deref(), Some(UNTRUSTED_CALL));
    let failed = code.run("the chat template", || -> Result<()> { panic!("a slice of nothing") });
    assert_eq!(error(failed), "the chat template failed: a slice of nothing");
    assert!(code.run("the chat template", || Ok(())).is_ok(), "the next call");
    Ok(())
}
