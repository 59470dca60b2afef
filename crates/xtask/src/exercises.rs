//! `cargo x learn` and `cargo x exercises`: the runner is a program of the package exercises, which
//! cargo builds first.

use std::process::exit;

use anyhow::{Context, Result, ensure};

use crate::cargo::{cargo, program};

/// Arguments that are passed on.
#[derive(clap::Args)]
pub(crate) struct Args {
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, hide = true)]
    args: Vec<String>,
}

/// Runs `command` of the runner and ends with its exit code if that is not 0.
pub(crate) fn run(command: &str, args: &Args) -> Result<()> {
    // Not by `cargo run`, which would set variables that the runner's own cargo is to be spared.
    let path = std::env::current_exe().context("finding the folder of the programs")?;
    let path = path.with_file_name(format!("exercises{}", std::env::consts::EXE_SUFFIX));
    let mut build = cargo();
    build.args(["build", "--package", "exercises"]);
    if path.exists() {
        build.arg("--quiet"); // the first build takes minutes, and shows what it does
    }
    ensure!(build.status().context("starting cargo")?.success(), "the exercises do not compile");
    let status =
        program(&path).arg(command).args(&args.args).status().context("starting the runner")?;
    if status.success() {
        return Ok(());
    }
    exit(status.code().unwrap_or(1))
}
