use std::thread;

use anyhow::Result;

use crate::threads::{UNTRUSTED_CALL, spawn_untrusted_call};

#[test]
fn a_panic_of_an_untrusted_call_is_an_error_with_its_message() -> Result<()> {
    let name = || anyhow::Ok(thread::current().name().map(String::from));
    assert_eq!(spawn_untrusted_call("", name)?.recv()??.as_deref(), Some(UNTRUSTED_CALL));
    let literal = || -> Result<()> { panic!("an end of nothing") };
    let formatted = || -> Result<()> {
        assert_eq!(std::hint::black_box(1), 2, "page {}", 3);
        Ok(())
    };
    let error = || -> Result<()> { anyhow::bail!("no rows") };
    let message = |call: fn() -> Result<()>| -> Result<String> {
        let result = spawn_untrusted_call("its pages are invalid", call)?.recv()?;
        Ok(format!("{:#}", result.expect_err("an error")))
    };
    assert_eq!(message(literal)?, "its pages are invalid: an end of nothing");
    assert!(message(formatted)?.contains("invalid: assertion `left == right` failed: page 3"));
    assert_eq!(message(error)?, "no rows");
    Ok(())
}
