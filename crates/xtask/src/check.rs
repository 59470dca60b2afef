//! `cargo x check`: everything that must be green before a commit, the quick checks first.

use std::process::Command;

use anyhow::{Context, Result, ensure};

use crate::{layers, readmes, root, tiny_text};

/// Runs all checks, stopping at the first that fails.
pub(crate) fn run() -> Result<()> {
    cargo(&["fmt", "--all", "--check"], None)?;
    layers::check()?;
    readmes::check(&root())?;
    tiny_text::check(&root())?;
    cargo(&["clippy", "--workspace", "--all-targets", "--", "-D", "warnings"], None)?;
    cargo(&["doc", "--workspace", "--no-deps"], Some(("RUSTDOCFLAGS", "-D warnings")))?;
    cargo(&["test"], None)
}

fn cargo(args: &[&str], variable: Option<(&str, &str)>) -> Result<()> {
    let shown = format!("cargo {}", args.join(" "));
    println!("> {shown}");
    let status = Command::new(env!("CARGO")).args(args).envs(variable).status();
    ensure!(status.with_context(|| shown.clone())?.success(), "{shown} failed");
    Ok(())
}
