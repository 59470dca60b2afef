//! Cargo and other programs, called from a program that cargo has started.

use std::ffi::OsStr;
use std::process::Command;

/// Cargo, as [`program`] is called.
pub(crate) fn cargo() -> Command {
    program(env!("CARGO"))
}

/// Program that is called without the variables by which cargo describes this package. Build
/// scripts that watch them (ring's) would take them for a change, and all that depends on their
/// crates would be built again.
pub(crate) fn program(path: impl AsRef<OsStr>) -> Command {
    let mut program = Command::new(path);
    for (name, _) in std::env::vars_os() {
        let text = name.to_string_lossy();
        if text.starts_with("CARGO_PKG_") || text.starts_with("CARGO_MANIFEST_") {
            program.env_remove(&name);
        }
    }
    program
}
