//! Crates of the workspace as cargo lists them, and the text of their source files.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use cargo_metadata::{Metadata, TargetKind};

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
            crates.push(Crate {
                package: package.name.to_string(),
                name: target.name.replace('-', "_"),
                kind,
                root: relative(target.src_path.as_std_path(), metadata)?,
            });
        }
    }
    Ok(crates)
}

/// All `.rs` files in the folders of the workspace's packages.
///
/// # Errors
/// If one cannot be read.
pub(crate) fn sources(metadata: &Metadata) -> Result<Sources> {
    let manifests = metadata.packages.iter().map(|p| p.manifest_path.as_std_path());
    let mut folders: Vec<PathBuf> =
        manifests.filter_map(|manifest| manifest.parent().map(Path::to_path_buf)).collect();
    let mut sources = Sources::new();
    while let Some(folder) = folders.pop() {
        let reading = || format!("reading {}", folder.display());
        for entry in fs::read_dir(&folder).with_context(reading)? {
            let path = entry.with_context(reading)?.path();
            if path.is_dir() && !path.ends_with("target") {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let text = fs::read_to_string(&path)
                    .with_context(|| format!("reading {}", path.display()))?;
                sources.insert(relative(&path, metadata)?, text);
            }
        }
    }
    Ok(sources)
}

fn relative(path: &Path, metadata: &Metadata) -> Result<PathBuf> {
    let relative = path.strip_prefix(&metadata.workspace_root);
    Ok(relative
        .with_context(|| format!("{} lies outside the workspace", path.display()))?
        .to_path_buf())
}
