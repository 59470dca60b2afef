use std::thread;
use std::time::Duration;

use anyhow::Result;

use crate::threads::{UNTRUSTED_CALL, spawn_untrusted_call};

const LONG: Duration = Duration::from_secs(60);

#[test]
fn a_panic_of_an_untrusted_call_is_an_error_with_its_message() -> Result<()> {
    let name = || anyhow::Ok(thread::current().name().map(String::from));
    let name = spawn_untrusted_call("", name)?.wait(LONG).expect("a result")?;
    assert_eq!(name.as_deref(), Some(UNTRUSTED_CALL));
    let literal = || -> Result<()> { panic!("an end of nothing") };
    let formatted = || -> Result<()> {
        assert_eq!(std::hint::black_box(1), 2, "page {}", 3);
        Ok(())
    };
    let error = || -> Result<()> { anyhow::bail!("no rows") };
    let message = |call: fn() -> Result<()>| -> Result<String> {
        let result = spawn_untrusted_call("its pages are invalid", call)?.wait(LONG);
        Ok(format!("{:#}", result.expect("a result").expect_err("an error")))
    };
    assert_eq!(message(literal)?, "its pages are invalid: an end of nothing");
    assert!(message(formatted)?.contains("invalid: assertion `left == right` failed: page 3"));
    assert_eq!(message(error)?, "no rows");
    Ok(())
}

/// Threads that end while they are detached can crash the program, so they are joined.
#[test]
fn thousands_of_short_calls_leave_no_thread_and_no_stack_behind() -> Result<()> {
    let stacks =
        || std::fs::read_to_string("/proc/self/maps").map_or(0, |maps| maps.lines().count());
    let before = stacks();
    for i in 0..20_000 {
        let mut call = spawn_untrusted_call("it failed", move || Ok(i))?;
        assert_eq!(call.wait(LONG).expect("a result")?, i);
        assert!(call.wait(Duration::ZERO).is_none(), "the result is there once");
    }
    assert!(stacks() < before + 1_000, "threads are left behind");
    Ok(())
}

#[test]
fn a_call_that_takes_too_long_is_left_to_itself() -> Result<()> {
    let (send, receive) = std::sync::mpsc::channel::<()>();
    let mut call = spawn_untrusted_call("it failed", move || Ok(receive.recv()?))?;
    assert!(call.wait(Duration::from_millis(5)).is_none());
    drop(call);
    send.send(())?; // it ends some time later, and nobody waits for it
    Ok(())
}
