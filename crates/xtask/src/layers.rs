//! `cargo x layers`: checks that all dependencies of the workspace point downwards.
//!
//! Three rules: a crate depends on crates below it only ([`crate_order`]); no two files of a crate
//! import from each other, directly or through others ([`circles`]); the kernels of tensor_core are
//! used inside tensor_core only, and are its lowest layer ([`kernels`]). The first rule reads
//! cargo's dependencies, the others read the sources: [`paths`] collects the paths that a file
//! contains and [`resolve`] finds the file that defines each.
//!
//! The reader of sources expands no macros and infers no types. It does not see a method call
//! (`matrix.multiply(x)`), unless the type or trait is also named; a macro found by textual scope;
//! a path in a string, such as serde's `with = "..."`. Code of all platforms and features counts.

mod crate_order;
mod source_files;
mod test_code;
mod use_tree;
mod names;
mod module_tree;
mod resolve;
mod macro_tokens;
mod paths;
mod imports;
mod circles;
mod kernels;

use anyhow::{Result, ensure};
use cargo_metadata::MetadataCommand;
use module_tree::Modules;

/// Checks the three rules on the workspace.
///
/// # Errors
/// Lists every violation.
pub(crate) fn check() -> Result<()> {
    let metadata = MetadataCommand::new().no_deps().exec()?;
    let modules =
        Modules::parse(source_files::crates(&metadata)?, &source_files::sources(&metadata)?)?;
    let references = resolve::references(&modules);
    let mut violations = crate_order::violations(&metadata);
    violations.extend(circles::violations(&imports::graphs(&modules, &references)));
    violations.extend(kernels::violations(&modules, &references));
    ensure!(violations.is_empty(), "{} violations:\n{}", violations.len(), violations.join("\n"));
    println!(
        "layers: {} packages, no dependency on a later one, no circle of files",
        metadata.packages.len()
    );
    Ok(())
}

#[cfg(test)]
mod tests;
