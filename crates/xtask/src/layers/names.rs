//! Names in the scope of a module: items, child modules and imports.

use std::collections::BTreeMap;

use syn::{ForeignItem, Ident, Item, Visibility};

use super::use_tree::{EXTERN, UseLeaf, UseNames, leaves, text};

/// Index of a module in `Modules`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct ModuleId(pub(crate) usize);

/// Names that are defined or imported in one module.
#[derive(Default)]
pub(crate) struct Names {
    /// Meanings of each name: a function and a module can share one.
    pub(crate) meanings: BTreeMap<String, Vec<Name>>,
    /// Paths of the glob imports.
    pub(crate) globs: Vec<Vec<String>>,
}

/// One meaning of a name in a module.
pub(crate) struct Name {
    /// Thing that the name stands for.
    pub(crate) definition: Definition,
    /// Whether the name can be used outside the module and its children.
    pub(crate) visibility: NameVisibility,
}

/// Thing that a name stands for.
pub(crate) enum Definition {
    /// Child module.
    Module(ModuleId),
    /// Type or trait: paths may go on after its name.
    Type,
    /// Function, constant, static or macro.
    Value,
    /// Thing at this path, brought into scope by `use`.
    Import(Vec<String>),
}

/// Visibility of a name.
#[derive(Clone, Copy, PartialEq)]
pub(crate) enum NameVisibility {
    /// The module and its children.
    Private,
    /// More than the module and its children.
    Public,
}

impl Names {
    /// Adds the names that `item` brings into the scope of its module.
    pub(crate) fn define_item(&mut self, item: &Item) {
        use Definition::{Type, Value};
        match item {
            Item::Const(item) => self.define(&item.ident, Value, &item.vis),
            Item::Static(item) => self.define(&item.ident, Value, &item.vis),
            Item::Fn(item) => self.define(&item.sig.ident, Value, &item.vis),
            Item::Enum(item) => self.define(&item.ident, Type, &item.vis),
            Item::Struct(item) => self.define(&item.ident, Type, &item.vis),
            Item::Trait(item) => self.define(&item.ident, Type, &item.vis),
            Item::TraitAlias(item) => self.define(&item.ident, Type, &item.vis),
            Item::Type(item) => self.define(&item.ident, Type, &item.vis),
            Item::Union(item) => self.define(&item.ident, Type, &item.vis),
            Item::Macro(item) => {
                if let Some(ident) = &item.ident {
                    self.define(ident, Value, &Visibility::Inherited);
                }
            }
            Item::ForeignMod(block) => {
                for item in &block.items {
                    if let ForeignItem::Fn(item) = item {
                        self.define(&item.sig.ident, Value, &item.vis);
                    }
                }
            }
            Item::ExternCrate(item) => {
                let path = vec![EXTERN.to_string(), text(&item.ident)];
                let name = item.rename.as_ref().map_or(&item.ident, |(_, rename)| rename);
                self.define(name, Definition::Import(path), &item.vis);
            }
            Item::Use(item) => {
                for UseLeaf { names, path } in leaves(item) {
                    match names {
                        UseNames::All => self.globs.push(path),
                        UseNames::One(name) => {
                            self.add(name, Definition::Import(path), &item.vis);
                        }
                    }
                }
            }
            _ => {}
        }
    }

    /// Adds `ident` with one meaning.
    pub(crate) fn define(&mut self, ident: &Ident, definition: Definition, declared: &Visibility) {
        self.add(text(ident), definition, declared);
    }

    fn add(&mut self, name: String, definition: Definition, declared: &Visibility) {
        let visibility = match declared {
            Visibility::Inherited => NameVisibility::Private,
            _ => NameVisibility::Public,
        };
        self.meanings.entry(name).or_default().push(Name { definition, visibility });
    }
}
