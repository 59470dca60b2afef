//! Small workspaces in memory, checked by the rules.

mod crate_order;
mod resolution;
mod circles;
mod kernels;

use std::path::Path;

use super::circles::violations;
use super::imports::graphs;
use super::module_tree::Modules;
use super::resolve::references;
use super::source_files::{Crate, CrateKind, Sources};

/// Modules of `crates`, whose source files are `files`: pairs of a path and a text.
fn modules(crates: Vec<Crate>, files: &[(&str, &str)]) -> Modules {
    let sources: Sources = files
        .iter()
        .map(|(path, text)| (Path::new(path).to_path_buf(), text.to_string()))
        .collect();
    Modules::parse(crates, &sources).unwrap()
}

fn library(package: &str) -> Crate {
    of_kind(CrateKind::Library, package, &format!("crates/{package}/src/lib.rs"))
}

fn of_kind(kind: CrateKind, package: &str, root: &str) -> Crate {
    Crate { package: package.to_string(), name: package.to_string(), kind, root: root.into() }
}

/// Messages about circles in the library `a` with `files` in `crates/a/src`.
fn circles_in(files: &[(&str, &str)]) -> Vec<String> {
    let files: Vec<(String, &str)> =
        files.iter().map(|(path, text)| (format!("crates/a/src/{path}"), *text)).collect();
    let files: Vec<(&str, &str)> =
        files.iter().map(|(path, text)| (path.as_str(), *text)).collect();
    let modules = modules(vec![library("a")], &files);
    violations(&graphs(&modules, &references(&modules)))
}
