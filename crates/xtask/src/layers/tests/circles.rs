use super::{circles_in, library, modules, of_kind};
use crate::layers::circles::violations;
use crate::layers::imports::graphs;
use crate::layers::resolve::references;
use crate::layers::source_files::CrateKind;

#[test]
fn files_that_import_in_one_direction_pass() {
    let lib = "mod low; mod high; pub use low::Low;";
    let high = "use crate::Low; pub fn high(low: Low) { crate::low::low(); }";
    let low = "pub struct Low; pub fn low() -> std::path::PathBuf { std::path::PathBuf::new() }";
    assert!(circles_in(&[("lib.rs", lib), ("low.rs", low), ("high.rs", high)]).is_empty());
}

#[test]
fn a_circle_through_re_exports_is_found() {
    let files = [
        ("lib.rs", "mod shape; mod folder; pub use shape::Shape; pub use folder::volume as size;"),
        ("shape.rs", "pub struct Shape; impl Shape { fn size(&self) { crate::size(self) } }"),
        ("folder/mod.rs", "mod inner; pub(crate) use inner::{volume};"),
        ("folder/inner.rs", "use crate::Shape; pub(crate) fn volume(_: &Shape) {}"),
    ];
    let message = "crates/a/src: 2 files import from each other: folder/inner.rs, shape.rs
    folder/inner.rs uses shape::Shape
    shape.rs uses inner::volume";
    assert_eq!(circles_in(&files), [message]);
}

#[test]
fn a_circle_of_three_files_is_reported_once() {
    let files = [
        ("lib.rs", "mod a; mod b; mod c; mod user;"),
        ("a.rs", "pub struct A; fn a(_: crate::b::B) {}"),
        ("b.rs", "pub struct B; use super::c::C; fn b(_: C) {}"),
        ("c.rs", "pub struct C; pub struct D; use crate::{a, a::A}; fn c() { a::A; }"),
        ("user.rs", "use crate::c::D;"),
    ];
    let message = "crates/a/src: 3 files import from each other: a.rs, b.rs, c.rs
    a.rs uses b::B
    b.rs uses c::C
    c.rs uses a::A";
    assert_eq!(circles_in(&files), [message]);
}

#[test]
fn a_large_component_is_shown_with_a_shortest_circle() {
    let files = [
        ("lib.rs", "mod a; mod b; mod c; mod d;"),
        ("a.rs", "use crate::b::B; pub struct A;"),
        ("b.rs", "use crate::c::C; pub struct B;"),
        ("c.rs", "use crate::{d::{D, E}, a::A}; pub struct C;"),
        ("d.rs", "use crate::c::C; pub struct D; pub struct E;"),
    ];
    let message = "crates/a/src: 4 files import from each other: a.rs, b.rs, c.rs, d.rs
    c.rs uses d::D, d::E
    d.rs uses c::C";
    assert_eq!(circles_in(&files), [message]);
}

#[test]
fn a_module_and_its_child_can_be_a_circle() {
    let child = "use super::Matrix; pub(super) fn multiply(_: &Matrix) {}";
    let uses = [
        "pub struct Matrix; fn f(m: &Matrix) { child::multiply(m) }",
        "pub struct Matrix; use child::multiply;",
        "pub struct Matrix; pub use child::multiply; fn f(m: &Matrix) { multiply(m) }",
        "pub struct Matrix; pub use child::multiply; fn f(m: &Matrix) { ensure!(multiply(m)) }",
    ];
    for parent in uses {
        let parent = format!("mod child; {parent}");
        let files = [("lib.rs", "mod matrix;"), ("matrix.rs", &parent), ("matrix/child.rs", child)];
        let message = "crates/a/src: 2 files import from each other: matrix/child.rs, matrix.rs
    matrix/child.rs uses matrix::Matrix
    matrix.rs uses child::multiply";
        assert_eq!(circles_in(&files), [message], "{parent}");
    }
}

#[test]
fn a_module_declaration_and_the_re_export_of_a_child_are_not_imports() {
    let parent = "mod child; pub use child::multiply; pub use child::deep::power; pub struct M;
        fn f(multiply: fn()) { multiply(); m.power(); g! { multiply: multiply } }";
    let files = [
        ("lib.rs", "pub mod matrix;"),
        ("matrix.rs", parent),
        ("matrix/child.rs", "pub mod deep; use super::M; pub(super) fn multiply(_: &M) {}"),
        ("matrix/child/deep.rs", "pub fn power(_: &crate::matrix::M) {}"),
    ];
    assert!(circles_in(&files).is_empty());
}

#[test]
fn the_re_export_of_another_modules_item_is_an_import() {
    let files = [
        ("lib.rs", "mod a; mod b;"),
        ("a.rs", "pub use crate::b::B;"),
        ("b.rs", "pub struct B; pub fn g() { crate::a::missing_here(); }"),
    ];
    assert_eq!(circles_in(&files).len(), 1);
}

#[test]
fn the_root_of_a_library_takes_no_part() {
    let lib = "mod a; pub use a::A; pub struct Root; fn f() { a::g(); }";
    let files = [("lib.rs", lib), ("a.rs", "pub struct A; pub fn g() { crate::Root; }")];
    assert!(circles_in(&files).is_empty());
}

#[test]
fn test_code_may_import_from_everywhere() {
    let low = "pub struct Low;
        #[cfg(test)] mod inline { use crate::high::High; }
        #[cfg(all(test, unix))] use crate::high::High;
        #[cfg(test)] fn helper() { crate::high::high(); }
        #[test] fn claim() { crate::high::high(); }
        impl Low { #[cfg(test)] fn check() { crate::high::high(); } }
        #[cfg(test)] mod tests; #[cfg(test)] mod kit;";
    let test = "use super::*; use crate::high::High; pub fn f() {}";
    let files = [
        ("lib.rs", "mod low; mod high; mod tests;"),
        ("low.rs", low),
        ("high.rs", "use crate::low::Low; pub fn high() {} pub struct High;"),
        ("low/tests.rs", test),
        ("low/kit.rs", test),
        ("tests.rs", "mod deep;"),
        ("tests/deep.rs", test),
    ];
    assert!(circles_in(&files).is_empty());
    let any = files.map(|(path, text)| (path, text.replace("all(test, unix)", "any(test, unix)")));
    let any: Vec<(&str, &str)> = any.iter().map(|(path, text)| (*path, text.as_str())).collect();
    assert_eq!(circles_in(&any).len(), 1, "code for tests and for unix is not test code");
}

#[test]
fn a_program_has_a_module_tree_of_its_own() {
    let crates = || {
        let library = library("a");
        vec![library, of_kind(CrateKind::Program, "a", "crates/a/src/main.rs")]
    };
    let lib = ("crates/a/src/lib.rs", "pub mod model; pub use model::Model;");
    let model = ("crates/a/src/model.rs", "pub struct Model;");
    let main = ("crates/a/src/main.rs", "mod command; use a::Model; fn main() { command::run() }");
    let command = "use a::Model; pub(crate) fn run() {}";
    let modules_of = |command| {
        let modules = modules(crates(), &[lib, model, main, ("crates/a/src/command.rs", command)]);
        violations(&graphs(&modules, &references(&modules)))
    };
    assert!(modules_of(command).is_empty());
    let message = "crates/a/src: 2 files import from each other: command.rs, main.rs
    command.rs uses crate::main
    main.rs uses command::run";
    assert_eq!(modules_of("pub(crate) fn run() { crate::main() }"), [message]);
}

#[test]
fn a_circle_that_a_library_and_a_program_share_is_reported_once() {
    let crates = vec![library("a"), of_kind(CrateKind::Program, "a", "crates/a/src/main.rs")];
    let files = [
        ("crates/a/src/lib.rs", "mod a; mod b;"),
        ("crates/a/src/main.rs", "mod a; mod b; fn main() {}"),
        ("crates/a/src/a.rs", "use crate::b::B; pub struct A;"),
        ("crates/a/src/b.rs", "use crate::a::A; pub struct B;"),
    ];
    let modules = modules(crates, &files);
    assert_eq!(violations(&graphs(&modules, &references(&modules))).len(), 1);
}
