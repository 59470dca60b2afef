use super::{library, modules};
use crate::layers::imports::graphs;
use crate::layers::resolve::references;

/// Imports of `user.rs` in the library `a`, as `file: item, item`.
fn imports_of(user: &str, others: &[(&str, &str)]) -> Vec<String> {
    let lib = "pub mod user; pub mod ops; pub mod fast; pub use ops::add; pub use fast::Mode;
        pub mod add { pub fn slow() {} }";
    let ops = "mod plus; pub use plus::add; pub fn own() {} fn private() {}
        by_type! { fn generated() {} }";
    let plus = "pub fn add() {} pub(crate) struct Plus;";
    let fast = "pub enum Mode { Loop } pub const GRAIN: usize = 1;
        macro_rules! dots { () => {} } pub(crate) use dots;";
    let mut files = vec![
        ("crates/a/src/lib.rs", lib),
        ("crates/a/src/user.rs", user),
        ("crates/a/src/ops/mod.rs", ops),
        ("crates/a/src/ops/plus.rs", plus),
        ("crates/a/src/fast.rs", fast),
    ];
    files.extend(others);
    let modules = modules(vec![library("a")], &files);
    let graphs = graphs(&modules, &references(&modules));
    let file = std::path::Path::new("crates/a/src/user.rs");
    let Some(graph) = graphs.iter().find(|graph| graph.importers().any(|from| from == file)) else {
        return Vec::new();
    };
    let line = |to: &std::path::Path| {
        let items: Vec<&str> = graph.items(file, to).collect();
        format!("{}: {}", to.strip_prefix("crates/a/src").unwrap().display(), items.join(", "))
    };
    graph.imports_of(file).map(line).collect()
}

#[test]
fn use_declarations_lead_to_the_file_that_defines_the_item() {
    for user in [
        "use crate::add;",
        "use crate::ops::add as plus;",
        "use super::ops::{self, add}; fn f() { ops::add() }",
        "use crate::ops; fn f() { ops::add() }",
        "pub use crate::add;",
        "use self::inner::add; mod inner { pub(super) use super::super::ops::add; }",
        "fn f() { use crate::ops as o; o::add() }",
        "fn f() { let x = { use crate::ops::{add as o}; o() }; }",
    ] {
        assert_eq!(imports_of(user, &[]), ["ops/plus.rs: plus::add"], "{user}");
    }
}

#[test]
fn glob_imports_count_for_the_names_that_the_code_uses() {
    assert_eq!(
        imports_of("use crate::ops::*; fn f() { add(); own() }", &[]),
        ["ops/mod.rs: ops::own", "ops/plus.rs: plus::add"]
    );
    assert!(imports_of("use crate::ops::*; fn f() { private() }", &[]).is_empty());
    assert_eq!(imports_of("fn f() { use crate::ops::*; own() }", &[]), ["ops/mod.rs: ops::*"]);
}

#[test]
fn paths_in_code_count_wherever_they_are() {
    for user in [
        "fn f(_: crate::fast::Mode) {}",
        "fn f() -> Option<super::fast::Mode> { None }",
        "fn f() { crate::Mode::Loop; }",
        "impl Default for crate::Mode {}",
        "fn f() { match x { crate::Mode::Loop => {} } }",
        "fn f() { ensure!(x.Mode, \"{}\", [y(crate::Mode::Loop)]); }",
        "#[arg(default_value_t = crate::Mode::Loop)] struct Args;",
        "macro_rules! m { ($x:ident) => { $x.f($crate::Mode::Loop) } }",
    ] {
        assert_eq!(imports_of(user, &[]), ["fast.rs: fast::Mode"], "{user}");
    }
}

#[test]
fn names_that_are_not_items_of_the_crate_do_not_count() {
    for user in [
        "use std::ops::Add; use candle::Mode; fn f(ops: usize) -> Mode { ops.add(1) }",
        "use crate::ops; mod fast {}",
        "use crate::fast::{self}; fn f() { let fast = 1; fast }",
        "use crate::*; fn f(add: usize) { add; g!(add, add = 1, .add, Mode: 1); h.add() }",
        "use crate::*; fn f() { values.map(|add| add + 1) }",
        "pub(in crate::user) fn f() {}",
    ] {
        assert!(imports_of(user, &[]).is_empty(), "{user}");
    }
}

#[test]
fn a_function_and_a_module_can_share_a_name() {
    assert_eq!(imports_of("use crate::add; fn f() { add() }", &[]), ["ops/plus.rs: plus::add"]);
    assert!(imports_of("fn f() { crate::add::slow() }", &[]).is_empty(), "the module is in lib.rs");
}

#[test]
fn macros_are_items() {
    assert_eq!(imports_of("use crate::fast::dots; dots!();", &[]), ["fast.rs: fast::dots"]);
    assert_eq!(
        imports_of("fn f() { crate::ops::generated() }", &[]),
        ["ops/mod.rs: ops::generated"],
        "what a module has and its source does not show is made by a macro"
    );
}

#[test]
fn imports_in_a_circle_end() {
    let other = ("crates/a/src/user/other.rs", "pub use super::*; pub use super::missing;");
    let user = "mod other; pub use other::*; pub use other::missing; fn f() { missing(); gone() }";
    assert!(imports_of(user, &[other]).is_empty());
}

#[test]
fn path_attributes_name_the_file() {
    let other = ("crates/a/src/shared/far.rs", "pub fn far() {}");
    let user = "#[path = \"../src/shared/far.rs\"] mod near; fn f() { near::far() }";
    assert_eq!(imports_of(user, &[other]), ["shared/far.rs: near::far"]);
}
