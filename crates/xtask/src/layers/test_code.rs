//! Test code, which may import from any file of its crate.

use std::path::Path;

use syn::punctuated::Punctuated;
use syn::{Attribute, Item, Meta, Token};

/// Kinds of code, by the builds that have it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum CodeKind {
    /// All builds.
    Production,
    /// Builds of tests only.
    Test,
}

impl CodeKind {
    /// Kind of the code with `attributes` inside code of kind `self`.
    pub(crate) fn within(self, attributes: &[Attribute]) -> Self {
        if attributes.iter().any(is_test) { Self::Test } else { self }
    }

    /// Kind of the code in `file`: test code if it is a `tests.rs` or in a folder `tests`.
    pub(crate) fn for_file(file: &Path) -> Self {
        let is_test = file.components().any(|part| part.as_os_str() == "tests")
            || file.file_name().is_some_and(|name| name == "tests.rs");
        if is_test { Self::Test } else { Self::Production }
    }
}

/// True for `#[test]` and for a `#[cfg(...)]` that no build without tests satisfies.
fn is_test(attribute: &Attribute) -> bool {
    let is_cfg = attribute.path().is_ident("cfg");
    attribute.path().is_ident("test")
        || is_cfg && attribute.parse_args::<Meta>().is_ok_and(|predicate| needs_test(&predicate))
}

fn needs_test(predicate: &Meta) -> bool {
    let Meta::List(list) = predicate else { return predicate.path().is_ident("test") };
    let Ok(inner) = list.parse_args_with(Punctuated::<Meta, Token![,]>::parse_terminated) else {
        return false;
    };
    (list.path.is_ident("all") && inner.iter().any(needs_test))
        || (list.path.is_ident("any") && inner.iter().all(needs_test))
}

/// Attributes of `item`.
pub(crate) fn attributes(item: &Item) -> &[Attribute] {
    match item {
        Item::Const(item) => &item.attrs,
        Item::Enum(item) => &item.attrs,
        Item::ExternCrate(item) => &item.attrs,
        Item::Fn(item) => &item.attrs,
        Item::ForeignMod(item) => &item.attrs,
        Item::Impl(item) => &item.attrs,
        Item::Macro(item) => &item.attrs,
        Item::Mod(item) => &item.attrs,
        Item::Static(item) => &item.attrs,
        Item::Struct(item) => &item.attrs,
        Item::Trait(item) => &item.attrs,
        Item::TraitAlias(item) => &item.attrs,
        Item::Type(item) => &item.attrs,
        Item::Union(item) => &item.attrs,
        Item::Use(item) => &item.attrs,
        _ => &[],
    }
}
