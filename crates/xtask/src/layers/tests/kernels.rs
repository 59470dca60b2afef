use super::{library, modules, of_kind};
use crate::layers::kernels::violations;
use crate::layers::resolve::references;
use crate::layers::source_files::CrateKind;

/// Messages about a workspace of tensor_core, with `core` in place of some of its files, and of
/// part_1 and its test, with `outside` as their code.
fn violations_in(core: &[(&str, &str)], outside: &str) -> Vec<String> {
    let files = [
        (
            "crates/tensor_core/src/lib.rs",
            "pub mod kernels; pub mod ops; mod layers;
            pub use kernels::threads; pub use layers::Linear; #[cfg(test)] mod tests;",
        ),
        ("crates/tensor_core/src/kernels.rs", "pub fn threads() {} pub mod matmul;"),
        ("crates/tensor_core/src/kernels/matmul.rs", "pub fn matmul() { super::threads() }"),
        (
            "crates/tensor_core/src/ops.rs",
            "pub use crate::kernels::matmul; pub struct Op;
            pub use crate::kernels::matmul::matmul as product; fn f() { crate::threads() }",
        ),
        ("crates/tensor_core/src/layers.rs", "pub struct Linear; use crate::ops::Op;"),
        ("crates/tensor_core/src/tests.rs", "use crate::kernels::threads;"),
        ("crates/part_1/src/lib.rs", outside),
        ("crates/part_1/tests/demo.rs", outside),
    ];
    let files = files.map(|(path, text)| {
        let replacement = core.iter().find(|(name, _)| path.ends_with(&format!("core/src/{name}")));
        (path, replacement.map_or(text, |(_, text)| *text))
    });
    let test = of_kind(CrateKind::Other, "part_1", "crates/part_1/tests/demo.rs");
    let modules = modules(vec![library("tensor_core"), library("part_1"), test], &files);
    violations(&modules, &references(&modules))
}

#[test]
fn operations_and_tests_use_the_kernels_and_parts_use_the_operations() {
    let outside = "use tensor_core::{threads, ops::product}; mod kernels { pub fn f() {} }
        use kernels::f;";
    assert_eq!(violations_in(&[], outside), Vec::<String>::new());
}

#[test]
fn other_packages_do_not_name_the_kernels_not_even_in_tests() {
    for (outside, path) in [
        ("use tensor_core::kernels;", "tensor_core::kernels"),
        ("use tensor_core::{ops::Op, kernels::{threads as t}};", "tensor_core::kernels::threads"),
        ("fn f() { tensor_core::kernels::threads() }", "tensor_core::kernels::threads"),
        ("use tensor_core as core; fn f() { core::kernels::threads() }", "core::kernels::threads"),
        ("use tensor_core::*; fn f() { kernels::threads() }", "kernels::threads"),
        ("fn f() { g!(tensor_core::kernels::threads()) }", "tensor_core::kernels::threads"),
        ("use tensor_core::ops::matmul::matmul;", "tensor_core::ops::matmul::matmul"),
    ] {
        let messages = ["src/lib.rs", "tests/demo.rs"].map(|file| {
            format!(
                "crates/part_1/{file} names {path}: only tensor_core may name tensor_core::kernels"
            )
        });
        assert_eq!(violations_in(&[], outside), messages, "{outside}");
    }
}

#[test]
fn the_kernels_do_not_import_from_above() {
    let matmul = "use crate::Linear; fn f(_: crate::ops::Op) {} pub fn matmul() {}
        #[cfg(test)] mod tests { use crate::ops::Op; }";
    let file = "crates/tensor_core/src/kernels/matmul.rs";
    let messages = [
        format!("{file} uses crate::Linear: kernels must not import from layers"),
        format!("{file} uses crate::ops::Op: kernels must not import from ops"),
    ];
    assert_eq!(violations_in(&[("kernels/matmul.rs", matmul)], ""), messages);
}
