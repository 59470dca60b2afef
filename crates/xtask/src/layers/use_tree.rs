//! `use` declarations, flattened: `use a::{b, c as d, e::*};` has three leaves.

use syn::ext::IdentExt;
use syn::{Ident, ItemUse, UseTree};

/// First segment of a path that begins with `::`, so with the name of another crate.
pub(crate) const EXTERN: &str = "::";

/// One path of a `use` declaration.
#[derive(Debug, PartialEq)]
pub(crate) struct UseLeaf {
    /// Names that the path brings into scope.
    pub(crate) names: UseNames,
    /// Segments of the path, without the `*`.
    pub(crate) path: Vec<String>,
}

/// Names that a `use` brings into scope.
#[derive(Debug, PartialEq)]
pub(crate) enum UseNames {
    /// The last segment of the path, or the name after `as`.
    One(String),
    /// All names in the module or enum at the path: `*`.
    All,
}

/// Leaves of `item`, in the order of the source.
pub(crate) fn leaves(item: &ItemUse) -> Vec<UseLeaf> {
    let start = item.leading_colon.as_ref().map(|_| EXTERN.to_string());
    let mut leaves = Vec::new();
    add_leaves(&item.tree, &start.into_iter().collect::<Vec<_>>(), &mut leaves);
    leaves
}

/// Text of `ident`, without the `r#` of a raw identifier.
pub(crate) fn text(ident: &Ident) -> String {
    ident.unraw().to_string()
}

fn add_leaves(tree: &UseTree, prefix: &[String], leaves: &mut Vec<UseLeaf>) {
    match tree {
        UseTree::Path(path) => add_leaves(&path.tree, &joined(prefix, &path.ident), leaves),
        UseTree::Name(name) => {
            let path = joined(prefix, &name.ident);
            let name = path.last().cloned().unwrap_or_default();
            leaves.push(UseLeaf { names: UseNames::One(name), path });
        }
        UseTree::Rename(rename) => {
            let names = UseNames::One(text(&rename.rename));
            leaves.push(UseLeaf { names, path: joined(prefix, &rename.ident) });
        }
        UseTree::Glob(_) => leaves.push(UseLeaf { names: UseNames::All, path: prefix.to_vec() }),
        UseTree::Group(group) => {
            group.items.iter().for_each(|tree| add_leaves(tree, prefix, leaves));
        }
    }
}

/// `prefix` and then `ident`; `a::{self}` means `a`.
fn joined(prefix: &[String], ident: &Ident) -> Vec<String> {
    let mut path = prefix.to_vec();
    if prefix.is_empty() || ident != "self" {
        path.push(text(ident));
    }
    path
}
