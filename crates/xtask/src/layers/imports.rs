//! Imports between the files of a crate.
//!
//! A file imports from another if its code names an item that the other defines. A `mod`
//! declaration and the re-export of a child module's item (`pub use child::Item`) are not imports,
//! and a path through a re-export leads to the file that defines the item. Test code and the root
//! file of a library, which lists modules and re-exports, take no part.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use super::module_tree::Modules;
use super::names::ModuleId;
use super::paths::PathKind;
use super::resolve::{Reference, Target};
use super::source_files::CrateKind;
use super::test_code::CodeKind;

/// Imported items, by the file that imports them and then the file that defines them.
#[derive(Default)]
pub(crate) struct ImportGraph(BTreeMap<PathBuf, BTreeMap<PathBuf, BTreeSet<String>>>);

impl ImportGraph {
    /// All files that import.
    pub(crate) fn importers(&self) -> impl Iterator<Item = &Path> {
        self.0.keys().map(PathBuf::as_path)
    }

    /// Files that `file` imports from.
    pub(crate) fn imports_of(&self, file: &Path) -> impl Iterator<Item = &Path> {
        self.0.get(file).into_iter().flat_map(BTreeMap::keys).map(PathBuf::as_path)
    }

    /// Items of `to` that `from` imports, such as `matrix::QuantizedMatrix`.
    pub(crate) fn items(&self, from: &Path, to: &Path) -> impl Iterator<Item = &str> {
        let items = self.0.get(from).and_then(|imports| imports.get(to));
        items.into_iter().flatten().map(String::as_str)
    }
}

/// Import graph of each library and program in the folder `crates`.
pub(crate) fn graphs(modules: &Modules, references: &[Reference]) -> Vec<ImportGraph> {
    let mut graphs: BTreeMap<usize, ImportGraph> = BTreeMap::new();
    for reference in references.iter().filter(|reference| is_checked(modules, reference)) {
        let Some((module, item)) = imported_item(modules, reference) else { continue };
        let (from, to) = (modules.get(reference.from), modules.get(module));
        let is_same_crate = from.crate_index == to.crate_index;
        if is_same_crate && from.file != to.file && to.code_kind == CodeKind::Production {
            let graph = graphs.entry(from.crate_index).or_default();
            let imports = graph.0.entry(from.file.clone()).or_default();
            imports.entry(to.file.clone()).or_default().insert(item);
        }
    }
    graphs.into_values().collect()
}

/// True if the reference is production code of a crate that the rule is about.
fn is_checked(modules: &Modules, reference: &Reference) -> bool {
    let crate_of = modules.crate_of(reference.from);
    reference.path.code_kind == CodeKind::Production
        && crate_of.kind != CrateKind::Other
        && crate_of.root.starts_with("crates")
        && !is_in_library_root(modules, reference.from)
}

/// Module that defines the item that `reference` imports, and the item as messages name it.
fn imported_item(modules: &Modules, reference: &Reference) -> Option<(ModuleId, String)> {
    let (module, name) = match &reference.resolution.target {
        Target::Item { module, name } => (*module, name.as_str()),
        Target::Module(module) if reference.path.kind == PathKind::GlobInFunction => (*module, "*"),
        Target::Module(_) => return None,
    };
    let is_child = modules.contains(reference.from, module);
    if is_in_library_root(modules, module)
        || (reference.path.kind == PathKind::ReExport && is_child)
    {
        return None;
    }
    let last = modules.get(module).path.last().map_or("crate", String::as_str);
    Some((module, format!("{last}::{name}")))
}

/// True if `module` is in the root file of a library.
fn is_in_library_root(modules: &Modules, module: ModuleId) -> bool {
    let crate_of = modules.crate_of(module);
    crate_of.kind == CrateKind::Library && crate_of.root == modules.get(module).file
}
