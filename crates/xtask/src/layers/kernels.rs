//! Kernels of tensor_core: `tensor_core::kernels` has the loops for CPUs, below all else.
//!
//! No other package names it, and it imports from no other module of tensor_core. Tests may use
//! everything of their package.

use std::collections::BTreeSet;

use super::module_tree::Modules;
use super::names::ModuleId;
use super::resolve::{Reference, Target};
use super::source_files::CrateKind;
use super::test_code::CodeKind;

/// Package with the kernels.
const PACKAGE: &str = "tensor_core";
/// Module with the kernels.
const KERNELS: &str = "kernels";
/// One message for each file and path that breaks the rule.
pub(crate) fn violations(modules: &Modules, references: &[Reference]) -> Vec<String> {
    let messages: BTreeSet<String> =
        references.iter().filter_map(|reference| violation(modules, reference)).collect();
    messages.into_iter().collect()
}

fn violation(modules: &Modules, reference: &Reference) -> Option<String> {
    let (file, path) =
        (modules.get(reference.from).file.display(), reference.path.segments.join("::"));
    let through = &reference.resolution.through;
    if modules.crate_of(reference.from).package != PACKAGE {
        let names_kernels = through.iter().any(|module| area(modules, *module) == Some(KERNELS));
        return names_kernels
            .then(|| format!("{file} names {path}: only {PACKAGE} may name {PACKAGE}::{KERNELS}"));
    }
    if reference.path.code_kind == CodeKind::Test {
        return None;
    }
    let end = match reference.resolution.target {
        Target::Module(module) | Target::Item { module, .. } => module,
    };
    let user = area(modules, reference.from)?;
    let mut used = through.iter().chain([&end]).filter_map(|module| area(modules, *module));
    let above = used.find(|used| user == KERNELS && *used != KERNELS)?;
    Some(format!("{file} uses {path}: {KERNELS} must not import from {above}"))
}

/// Top module of tensor_core's library that `module` is in; `None` for its root and elsewhere.
fn area(modules: &Modules, module: ModuleId) -> Option<&str> {
    let crate_of = modules.crate_of(module);
    let is_library = crate_of.package == PACKAGE && crate_of.kind == CrateKind::Library;
    modules.get(module).path.first().filter(|_| is_library).map(String::as_str)
}
