//! Modules of all crates, as their `mod` declarations nest them, with the names in each.

use std::path::{Component, Path, PathBuf};

use anyhow::{Context, Result};
use syn::{Attribute, Expr, Item, ItemMod, Lit, Meta};

use super::names::{Definition, ModuleId, Names};
use super::source_files::{Crate, CrateKind, Sources};
use super::test_code::CodeKind;
use super::use_tree::text;

/// One module: a file, or an inline `mod name { ... }`.
pub(crate) struct Module {
    /// Index of the module's crate in [`Modules::crates`].
    pub(crate) crate_index: usize,
    /// Names of the modules from the root of the crate to this one; empty for the root.
    pub(crate) path: Vec<String>,
    /// File that holds the module's code.
    pub(crate) file: PathBuf,
    /// Module that declares this one; `None` for the root of a crate.
    pub(crate) parent: Option<ModuleId>,
    /// Whether the module is test code.
    pub(crate) code_kind: CodeKind,
    /// Names that are defined or imported in the module.
    pub(crate) names: Names,
    /// Code of the module, without its child modules.
    pub(crate) items: Vec<Item>,
}

/// Modules of all crates of the workspace.
#[derive(Default)]
pub(crate) struct Modules {
    /// Crates, in cargo's order.
    pub(crate) crates: Vec<Crate>,
    modules: Vec<Module>,
    roots: Vec<ModuleId>,
}

impl Modules {
    /// Parses the root file of each of `crates` and the files of the modules that it declares.
    ///
    /// # Errors
    /// If a file is missing or is not valid Rust.
    pub(crate) fn parse(crates: Vec<Crate>, sources: &Sources) -> Result<Self> {
        let mut modules = Self::default();
        for (crate_index, parsed) in crates.iter().enumerate() {
            let root = module(crate_index, parsed.root.clone());
            let items = items(&parsed.root, sources)?;
            let folder = parsed.root.parent().unwrap_or(Path::new("")).to_path_buf();
            let root = modules.add(root, items, &folder, sources)?;
            modules.roots.push(root);
        }
        modules.crates = crates;
        Ok(modules)
    }

    /// All modules with their indices.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (ModuleId, &Module)> {
        self.modules.iter().enumerate().map(|(index, module)| (ModuleId(index), module))
    }

    /// Module `id`.
    pub(crate) fn get(&self, id: ModuleId) -> &Module {
        &self.modules[id.0]
    }

    /// Crate of module `id`.
    pub(crate) fn crate_of(&self, id: ModuleId) -> &Crate {
        &self.crates[self.get(id).crate_index]
    }

    /// Root module of the crate that `id` belongs to.
    pub(crate) fn root_of(&self, id: ModuleId) -> ModuleId {
        self.roots[self.get(id).crate_index]
    }

    /// Root module of the library called `name`.
    pub(crate) fn library(&self, name: &str) -> Option<ModuleId> {
        let is_named = |c: &Crate| c.kind == CrateKind::Library && c.name == name;
        self.crates.iter().position(is_named).map(|index| self.roots[index])
    }

    /// True if `inner` is `outer` or one of the modules in it.
    pub(crate) fn contains(&self, outer: ModuleId, inner: ModuleId) -> bool {
        let (outer, inner) = (self.get(outer), self.get(inner));
        outer.crate_index == inner.crate_index && inner.path.starts_with(&outer.path)
    }

    /// Adds `module` with its `items` and its children, whose files are in `folder`.
    fn add(
        &mut self,
        module: Module,
        items: Vec<Item>,
        folder: &Path,
        sources: &Sources,
    ) -> Result<ModuleId> {
        let id = ModuleId(self.modules.len());
        self.modules.push(module);
        for item in items {
            if let Item::Mod(mut declaration) = item {
                let content = declaration.content.take().map(|(_, items)| items);
                let child = self.add_child(id, &declaration, content, folder, sources)?;
                let names = &mut self.modules[id.0].names;
                names.define(&declaration.ident, Definition::Module(child), &declaration.vis);
            } else {
                self.modules[id.0].names.define_item(&item);
                self.modules[id.0].items.push(item);
            }
        }
        Ok(id)
    }

    /// Adds the module of `declaration`, with the items of an inline module as `content`.
    fn add_child(
        &mut self,
        parent: ModuleId,
        declaration: &ItemMod,
        content: Option<Vec<Item>>,
        folder: &Path,
        sources: &Sources,
    ) -> Result<ModuleId> {
        let above = self.get(parent);
        let mut child = module(above.crate_index, above.file.clone());
        let name = text(&declaration.ident);
        child.path = [above.path.as_slice(), std::slice::from_ref(&name)].concat();
        child.parent = Some(parent);
        child.code_kind = above.code_kind.within(&declaration.attrs);
        if let Some(items) = content {
            return self.add(child, items, &folder.join(name), sources);
        }
        let (file, folder) = child_file(&declaration.attrs, &name, &child.file, folder, sources);
        if CodeKind::for_file(&file) == CodeKind::Test {
            child.code_kind = CodeKind::Test;
        }
        child.file = file;
        let items = items(&child.file, sources)
            .with_context(|| format!("mod {name}, declared in {}", above.file.display()))?;
        self.add(child, items, &folder, sources)
    }
}

/// Root module of a crate, without its code.
fn module(crate_index: usize, file: PathBuf) -> Module {
    Module {
        crate_index,
        path: Vec::new(),
        code_kind: CodeKind::Production,
        file,
        parent: None,
        names: Names::default(),
        items: Vec::new(),
    }
}

fn items(file: &Path, sources: &Sources) -> Result<Vec<Item>> {
    let source = sources.get(file).with_context(|| format!("{} is missing", file.display()))?;
    let parsed = syn::parse_file(source).with_context(|| format!("parsing {}", file.display()))?;
    Ok(parsed.items)
}

/// File of the module `name` that a file with the child modules' `folder` declares, and the folder
/// of that module's own children.
fn child_file(
    attributes: &[Attribute],
    name: &str,
    declared_in: &Path,
    folder: &Path,
    sources: &Sources,
) -> (PathBuf, PathBuf) {
    if let Some(path) = attributes.iter().find_map(path_attribute) {
        let file = sibling(declared_in, &path);
        let folder = file.parent().unwrap_or(Path::new("")).to_path_buf();
        return (file, folder);
    }
    let in_folder = folder.join(name).join("mod.rs");
    let file = if sources.contains_key(&in_folder) {
        in_folder
    } else {
        folder.join(format!("{name}.rs"))
    };
    (file, folder.join(name))
}

/// File at `path` relative to the folder of `file`, without `..`.
fn sibling(file: &Path, path: &str) -> PathBuf {
    let mut sibling = file.parent().unwrap_or(Path::new("")).to_path_buf();
    for component in Path::new(path).components() {
        match component {
            Component::ParentDir => drop(sibling.pop()),
            Component::Normal(name) => sibling.push(name),
            _ => {}
        }
    }
    sibling
}

/// Value of `#[path = "..."]`.
fn path_attribute(attribute: &Attribute) -> Option<String> {
    let Meta::NameValue(pair) = &attribute.meta else { return None };
    let Expr::Lit(literal) = &pair.value else { return None };
    match &literal.lit {
        Lit::Str(value) if pair.path.is_ident("path") => Some(value.value()),
        _ => None,
    }
}
