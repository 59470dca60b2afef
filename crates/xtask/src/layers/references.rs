//! References between modules: the paths of all code that lead to a module or item of the
//! workspace.

use super::module_tree::Modules;
use super::names::ModuleId;
use super::paths::{SourcePath, paths};
use super::resolve::{Resolution, resolve};

/// Path in the code of a module, and its end.
pub(crate) struct Reference {
    /// Module whose code has the path.
    pub(crate) from: ModuleId,
    /// Path as the source has it.
    pub(crate) path: SourcePath,
    /// Module or item that the path leads to.
    pub(crate) resolution: Resolution,
}

/// References in all code of `modules`.
pub(crate) fn references(modules: &Modules) -> Vec<Reference> {
    let mut references = Vec::new();
    for (from, module) in modules.iter() {
        for path in paths(&module.items, module.code_kind) {
            if let Some(resolution) = resolve(modules, from, &path.segments) {
                references.push(Reference { from, path, resolution });
            }
        }
    }
    references
}
