//! Crates of the workspace as cargo lists them, and the text of their source files.

use std::collections::BTreeMap;
use std::path::PathBuf;

use anyhow::{Context, Result};
use cargo_metadata::{Metadata, TargetKind};

use crate::repository::{self, has_extension, read};

/// Text of each `.rs` file, by its path relative to the root of the workspace.
pub(crate) type Sources = BTreeMap<PathBuf, String>;

/// Crate in the compiler's sense: one root file and the modules that it declares.
pub(crate) struct Crate {
    /// Package that the crate belongs to, such as `part_3`.
    pub(crate) package: String,
    /// Name of the crate in paths, such as `modern`.
    pub(crate) name: String,
    /// Kind of the crate.
    pub(crate) kind: CrateKind,
    /// Root file, relative to the root of the workspace.
    pub(crate) root: PathBuf,
}

/// Kinds of crates that the rules tell apart.
#[derive(Clone, Copy, PartialEq)]
pub(crate) enum CrateKind {
    /// Library, which other crates can name in paths.
    Library,
    /// Program of a package.
    Program,
    /// Integration test, benchmark, example or build script.
    Other,
}

/// All crates of the workspace.
///
/// # Errors
/// If the root file of one lies outside the workspace.
pub(crate) fn crates(metadata: &Metadata) -> Result<Vec<Crate>> {
    let mut crates = Vec::new();
    for package in &metadata.packages {
        for target in &package.targets {
            let kind = match target.kind.first() {
                Some(TargetKind::Lib) => CrateKind::Library,
                Some(TargetKind::Bin) => CrateKind::Program,
                _ => CrateKind::Other,
            };
            let root = target.src_path.strip_prefix(&metadata.workspace_root);
            let root =
                root.with_context(|| format!("{} lies outside the workspace", target.src_path))?;
            crates.push(Crate {
                package: package.name.to_string(),
                name: target.name.replace('-', "_"),
                kind,
                root: root.into(),
            });
        }
    }
    Ok(crates)
}

/// All `.rs` files of the workspace.
///
/// # Errors
/// If one cannot be read.
pub(crate) fn sources(metadata: &Metadata) -> Result<Sources> {
    let root = metadata.workspace_root.as_std_path();
    let files = repository::files(root)?.into_iter().filter(|path| has_extension(path, "rs"));
    files.map(|path| read(&root.join(&path)).map(|text| (path, text))).collect()
}
