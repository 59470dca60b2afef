//! `cargo x check`: all checks that must pass before a commit, the quick ones first.

use anyhow::{Context, Result, ensure};

use crate::repository::root;
use crate::{book, features, layers, links, readmes, tiny_text, words};

/// Runs all checks and stops at the first failure.
pub(crate) fn run() -> Result<()> {
    cargo(&["fmt", "--all", "--check"], None)?;
    layers::check()?;
    features::check()?;
    readmes::check(&root())?;
    links::check(&root(), false)?;
    book::check(&root())?;
    words::check(&root())?;
    tiny_text::check(&root())?;
    cargo(&["clippy", "--workspace", "--all-targets", "--", "-D", "warnings"], None)?;
    cargo(&["doc", "--workspace", "--no-deps"], Some(("RUSTDOCFLAGS", "-D warnings")))?;
    cargo(&["test"], None)
}

/// Runs cargo with `args`, and with an environment `variable` if one is given.
///
/// # Errors
/// When it fails.
pub(crate) fn cargo(args: &[&str], variable: Option<(&str, &str)>) -> Result<()> {
    let command = format!("cargo {}", args.join(" "));
    println!("> {command}");
    let status = crate::cargo::cargo().args(args).envs(variable).status();
    ensure!(status.with_context(|| command.clone())?.success(), "{command} failed");
    Ok(())
}

/// Runs the demo of part `number`, then its tests.
///
/// # Errors
/// When either fails.
pub(crate) fn run_part(number: u8) -> Result<()> {
    let part = format!("part_{number}");
    cargo(&["run", "-p", &part], None)?;
    cargo(&["test", "-p", &part], None)
}
