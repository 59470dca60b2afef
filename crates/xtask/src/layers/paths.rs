//! Paths in the code of a module: in `use` declarations, types, expressions, patterns, and the
//! arguments of macros and attributes.

use std::collections::{BTreeMap, BTreeSet};

use syn::buffer::TokenBuffer;
use syn::visit::{self, Visit};
use syn::{
    Attribute, Block, ExprClosure, ImplItemFn, Item, ItemFn, ItemUse, Macro, Meta, PatIdent, Path,
    Stmt, TraitItemFn, Visibility,
};

use super::macro_tokens;
use super::test_code::{CodeKind, attributes};
use super::use_tree::{EXTERN, UseLeaf, UseNames, leaves, text};

/// One path as the source has it, with the names that a function imports for itself replaced by
/// what they stand for.
#[derive(Debug, PartialEq)]
pub(crate) struct SourcePath {
    /// Identifiers between the `::`; [`EXTERN`] first if the path begins with `::`.
    pub(crate) segments: Vec<String>,
    /// Kind of code that the path stands in.
    pub(crate) kind: PathKind,
    /// Whether that code is test code.
    pub(crate) code_kind: CodeKind,
}

/// Kind of code that a path stands in.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum PathKind {
    /// `use` without visibility.
    Use,
    /// `pub use`, `pub(crate) use` and the like.
    ReExport,
    /// `use ...::*` inside a function.
    GlobInFunction,
    /// Any other code.
    Code,
}

/// Paths in `items`, the code of a module with kind `code_kind`.
pub(crate) fn paths(items: &[Item], code_kind: CodeKind) -> Vec<SourcePath> {
    let mut collector = Collector { paths: Vec::new(), scopes: Vec::new(), code_kind };
    items.iter().for_each(|item| collector.visit_item(item));
    collector.paths
}

struct Collector {
    paths: Vec<SourcePath>,
    /// Functions and blocks around the current code, from the outermost.
    scopes: Vec<Scope>,
    code_kind: CodeKind,
}

/// Names that a function or block defines for its own code.
#[derive(Default)]
struct Scope {
    /// Names of `use` declarations, with their paths.
    imports: BTreeMap<String, Vec<String>>,
    variables: BTreeSet<String>,
}

impl Collector {
    fn add(&mut self, mut segments: Vec<String>, kind: PathKind) {
        let Some(first) = segments.first() else { return };
        let is_variable = |scope: &Scope| scope.variables.contains(first);
        if segments.len() == 1 && self.scopes.iter().any(is_variable) {
            return;
        }
        if let Some(path) = self.scopes.iter().rev().find_map(|scope| scope.imports.get(first)) {
            segments.splice(..1, path.iter().cloned());
        }
        self.paths.push(SourcePath { segments, kind, code_kind: self.code_kind });
    }

    /// Calls `visit` for code that has `attributes`.
    fn with_attributes(&mut self, attributes: &[Attribute], visit: impl FnOnce(&mut Self)) {
        let outside = self.code_kind;
        self.code_kind = outside.within(attributes);
        visit(self);
        self.code_kind = outside;
    }

    /// Calls `visit` for the code in `scope`.
    fn with_scope(&mut self, scope: Scope, visit: impl FnOnce(&mut Self)) {
        self.scopes.push(scope);
        visit(self);
        self.scopes.pop();
    }
}

impl<'ast> Visit<'ast> for Collector {
    fn visit_item(&mut self, item: &'ast Item) {
        self.with_attributes(attributes(item), |inner| visit::visit_item(inner, item));
    }

    fn visit_item_use(&mut self, item: &'ast ItemUse) {
        let kind = match item.vis {
            Visibility::Inherited => PathKind::Use,
            _ => PathKind::ReExport,
        };
        let in_function = !self.scopes.is_empty();
        for UseLeaf { names, path } in leaves(item) {
            match names {
                UseNames::All if in_function => self.add(path, PathKind::GlobInFunction),
                _ => {
                    self.paths.push(SourcePath { segments: path, kind, code_kind: self.code_kind })
                }
            }
        }
    }

    fn visit_block(&mut self, block: &'ast Block) {
        let scope = Scope { imports: imports(block), ..Scope::default() };
        self.with_scope(scope, |inner| visit::visit_block(inner, block));
    }

    fn visit_item_fn(&mut self, function: &'ast ItemFn) {
        let scope = variables(|visitor| visitor.visit_item_fn(function));
        self.with_scope(scope, |inner| visit::visit_item_fn(inner, function));
    }

    fn visit_impl_item_fn(&mut self, function: &'ast ImplItemFn) {
        let scope = variables(|visitor| visitor.visit_impl_item_fn(function));
        self.with_attributes(&function.attrs, |outer| {
            outer.with_scope(scope, |inner| visit::visit_impl_item_fn(inner, function));
        });
    }

    fn visit_trait_item_fn(&mut self, function: &'ast TraitItemFn) {
        let scope = variables(|visitor| visitor.visit_trait_item_fn(function));
        self.with_scope(scope, |inner| visit::visit_trait_item_fn(inner, function));
    }

    fn visit_expr_closure(&mut self, closure: &'ast ExprClosure) {
        let scope = variables(|visitor| visitor.visit_expr_closure(closure));
        self.with_scope(scope, |inner| visit::visit_expr_closure(inner, closure));
    }

    fn visit_path(&mut self, path: &'ast Path) {
        let start = path.leading_colon.as_ref().map(|_| EXTERN.to_string());
        let names = path.segments.iter().map(|segment| text(&segment.ident));
        self.add(start.into_iter().chain(names).collect(), PathKind::Code);
        visit::visit_path(self, path);
    }

    fn visit_macro(&mut self, invocation: &'ast Macro) {
        self.visit_path(&invocation.path);
        for path in macro_tokens::paths(&TokenBuffer::new2(invocation.tokens.clone())) {
            self.add(path, PathKind::Code);
        }
    }

    fn visit_attribute(&mut self, attribute: &'ast Attribute) {
        let Meta::List(list) = &attribute.meta else { return };
        // A single identifier is a keyword of the attribute: `#[arg(long)]`
        let paths = macro_tokens::paths(&TokenBuffer::new2(list.tokens.clone()));
        for path in paths.into_iter().filter(|path| path.len() > 1) {
            self.add(path, PathKind::Code);
        }
    }
}

/// Names that the `use` declarations of `block` bring into scope.
fn imports(block: &Block) -> BTreeMap<String, Vec<String>> {
    let declarations = block.stmts.iter().filter_map(|statement| match statement {
        Stmt::Item(Item::Use(item)) => Some(item),
        _ => None,
    });
    declarations
        .flat_map(leaves)
        .filter_map(|leaf| match leaf.names {
            UseNames::One(name) => Some((name, leaf.path)),
            UseNames::All => None,
        })
        .collect()
}

/// Scope with the variables that the code seen by `visit` binds.
fn variables(visit: impl FnOnce(&mut Variables)) -> Scope {
    let mut variables = Variables::default();
    visit(&mut variables);
    Scope { variables: variables.0, ..Scope::default() }
}

#[derive(Default)]
struct Variables(BTreeSet<String>);

impl<'ast> Visit<'ast> for Variables {
    fn visit_pat_ident(&mut self, pattern: &'ast PatIdent) {
        let name = text(&pattern.ident);
        // A pattern in capitals is a constant or a variant
        if name.starts_with(char::is_lowercase) {
            self.0.insert(name);
        }
        visit::visit_pat_ident(self, pattern);
    }
}
