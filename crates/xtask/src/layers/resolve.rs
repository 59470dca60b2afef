//! References between modules: the paths of all code that lead to a module or item of the
//! workspace. Resolution finds the module that defines the item at the end of a path.
//!
//! A path is followed through `use` and `pub use`, so that a name that one file re-exports from
//! another leads to the second. The rules are those of the language for modules; names of traits'
//! and types' members are not looked up, as the path ends with the trait or type.

use super::module_tree::Modules;
use super::names::{Definition, ModuleId, NameVisibility};
use super::paths::{SourcePath, paths};
use super::use_tree::EXTERN;

/// Thing in the workspace that a path leads to.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Target {
    /// Module.
    Module(ModuleId),
    /// Item other than a module.
    Item {
        /// Module that defines the item.
        module: ModuleId,
        /// Name in that module.
        name: String,
    },
}

/// Result of following a path.
#[derive(Debug)]
pub(crate) struct Resolution {
    /// Modules that the path's own segments name.
    pub(crate) through: Vec<ModuleId>,
    /// End of the path.
    pub(crate) target: Target,
}

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

/// Follows `path`, which is in the code of module `from`; `None` if it leads out of the workspace
/// or names something local, such as a variable.
pub(crate) fn resolve(modules: &Modules, from: ModuleId, path: &[String]) -> Option<Resolution> {
    Resolver { modules, pending: Vec::new() }.follow(from, path, Wanted::Any)
}

/// Meanings of a name that can stand at a place in a path.
#[derive(Clone, Copy, PartialEq)]
enum Wanted {
    /// Module, type or trait: more segments follow.
    Parent,
    /// Any, and an item rather than a module.
    Any,
}

/// Result of looking for a name in a module.
enum Member {
    Found(Target),
    /// The name has a meaning, but none that is wanted and in the workspace.
    Other,
    /// The name has no meaning that the source shows; a macro may define it.
    Unknown,
}

struct Resolver<'a> {
    modules: &'a Modules,
    /// Names that are being looked up, so that imports in a circle end.
    pending: Vec<(ModuleId, String, Wanted)>,
}

impl Resolver<'_> {
    fn follow(&mut self, from: ModuleId, path: &[String], last: Wanted) -> Option<Resolution> {
        let (first, mut rest) = path.split_first()?;
        let wanted = |rest: &[String]| if rest.is_empty() { last } else { Wanted::Parent };
        let mut module = match first.as_str() {
            "crate" => self.modules.root_of(from),
            "self" => from,
            "super" => self.modules.get(from).parent?,
            EXTERN => {
                let (name, after) = rest.split_first()?;
                rest = after;
                self.modules.library(name)?
            }
            name => match self.member(from, name, wanted(rest)) {
                Member::Found(Target::Module(module)) => module,
                Member::Found(target) => return Some(Resolution { through: Vec::new(), target }),
                Member::Other | Member::Unknown => self.modules.library(name)?,
            },
        };
        let mut through = vec![module];
        while let Some((name, after)) = rest.split_first() {
            rest = after;
            let target = if name == "super" {
                Target::Module(self.modules.get(module).parent?)
            } else {
                match self.member(module, name, wanted(rest)) {
                    Member::Found(target) => target,
                    Member::Other => return None,
                    Member::Unknown => Target::Item { module, name: name.clone() },
                }
            };
            match target {
                Target::Module(child) => module = child,
                target @ Target::Item { .. } => return Some(Resolution { through, target }),
            }
            through.push(module);
        }
        Some(Resolution { through, target: Target::Module(module) })
    }

    fn member(&mut self, module: ModuleId, name: &str, wanted: Wanted) -> Member {
        let lookup = (module, name.to_string(), wanted);
        if self.pending.contains(&lookup) {
            return Member::Unknown;
        }
        self.pending.push(lookup);
        let member = match self.explicit_member(module, name, wanted) {
            Member::Unknown => self.glob_member(module, name, wanted),
            member => member,
        };
        self.pending.pop();
        member
    }

    /// Meaning of `name` by an item, a `mod` or a `use` in `module`.
    fn explicit_member(&mut self, module: ModuleId, name: &str, wanted: Wanted) -> Member {
        let Some(meanings) = self.modules.get(module).names.meanings.get(name) else {
            return Member::Unknown;
        };
        let mut targets: Vec<Target> = Vec::new();
        for meaning in meanings {
            match &meaning.definition {
                Definition::Value if wanted == Wanted::Parent => {}
                Definition::Value | Definition::Type => {
                    return Member::Found(Target::Item { module, name: name.to_string() });
                }
                Definition::Module(child) => targets.push(Target::Module(*child)),
                Definition::Import(path) => {
                    targets.extend(self.follow(module, path, wanted).map(|found| found.target));
                }
            }
        }
        let is_item = |target: &Target| matches!(target, Target::Item { .. });
        let preferred = targets.iter().position(is_item).filter(|_| wanted == Wanted::Any);
        match targets.into_iter().nth(preferred.unwrap_or(0)) {
            Some(target) => Member::Found(target),
            None => Member::Other,
        }
    }

    /// Meaning of `name` by a `use ...::*` in `module`.
    fn glob_member(&mut self, module: ModuleId, name: &str, wanted: Wanted) -> Member {
        for path in &self.modules.get(module).names.globs {
            let target = self.follow(module, path, Wanted::Parent).map(|found| found.target);
            let Some(Target::Module(source)) = target else { continue };
            if self.is_visible(source, name, module)
                && let member @ Member::Found(_) = self.member(source, name, wanted)
            {
                return member;
            }
        }
        Member::Unknown
    }

    /// False if `name` is private to `source` and module `from` is not inside it.
    fn is_visible(&self, source: ModuleId, name: &str, from: ModuleId) -> bool {
        let meanings = self.modules.get(source).names.meanings.get(name);
        self.modules.contains(source, from)
            || meanings
                .is_none_or(|all| all.iter().any(|name| name.visibility == NameVisibility::Public))
    }
}
