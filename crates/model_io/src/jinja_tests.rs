//! Jinja2's tests of a value's type where minijinja's differ: a template chooses its branch by
//! them, such as `tools is iterable and tools | length`.
//!
//! In Python None cannot be iterated, a text and a mapping are sequences (they have a length and
//! items), and an undefined value is an empty sequence. One deviation remains: `range(3)` is not a
//! sequence here, since minijinja does not tell it from a generator.

use minijinja::Environment;
use minijinja::value::{Value, ValueKind};

/// Replaces minijinja's tests by those of Jinja2.
pub(crate) fn add_tests(environment: &mut Environment<'_>) {
    environment.add_test("callable", is_callable);
    environment.add_test("iterable", is_iterable);
    environment.add_test("mapping", is_mapping);
    environment.add_test("sequence", is_sequence);
}

fn is_callable(value: &Value) -> bool {
    // Functions are plain objects; Jinja2's undefined values have a method that fails.
    let is_function = matches!(value.kind(), ValueKind::Plain | ValueKind::Undefined);
    is_function || is_object(value, &["Loop", "Macro"])
}

fn is_iterable(value: &Value) -> bool {
    let is_excluded = value.is_none() || is_object(value, &["Macro", "Namespace"]);
    !is_excluded && value.try_iter().is_ok()
}

fn is_mapping(value: &Value) -> bool {
    value.kind() == ValueKind::Map && !is_object(value, &["Loop", "Macro", "Namespace"])
}

fn is_sequence(value: &Value) -> bool {
    let kinds = [ValueKind::Undefined, ValueKind::String, ValueKind::Bytes, ValueKind::Seq];
    kinds.contains(&value.kind()) || is_mapping(value)
}

/// True for minijinja's objects of these private types, which report to be mappings.
fn is_object(value: &Value, types: &[&str]) -> bool {
    let path = value.as_object().map(|object| object.type_name());
    path.is_some_and(|path| types.contains(&path.rsplit("::").next().unwrap_or(path)))
}
