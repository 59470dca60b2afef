//! Paths in the arguments of a macro, found without knowing its grammar.
//!
//! A path is a sequence of identifiers with `::` between them; an identifier alone is one of a
//! single segment, except after a `.` (a field or method) and before a `:` (a field, a parameter).

use syn::buffer::{Cursor, TokenBuffer};

use super::use_tree::{EXTERN, text};

/// Paths in `tokens`, in the order of the source.
pub(crate) fn paths(tokens: &TokenBuffer) -> Vec<Vec<String>> {
    let mut paths = Vec::new();
    add_paths(tokens.begin(), &mut paths);
    paths
}

/// Token before the current one.
#[derive(Clone, Copy, PartialEq)]
enum Before {
    /// `.` of a field or method.
    Dot,
    /// `$` of a variable of a macro definition.
    Dollar,
    /// `::` that begins a path.
    Start,
    /// `::` after a type in angle brackets.
    Member,
    /// `>`.
    Angle,
    Other,
}

fn add_paths(mut cursor: Cursor, paths: &mut Vec<Vec<String>>) {
    let mut before = Before::Other;
    while !cursor.eof() {
        if let Some((path, next)) = path(cursor) {
            let (is_crate, is_field) = (path[0] == "crate", path.len() == 1 && is_colon(next));
            match before {
                Before::Other | Before::Angle if !is_field => paths.push(path),
                Before::Dollar if is_crate => paths.push(path),
                Before::Start => paths.push([vec![EXTERN.to_string()], path].concat()),
                _ => {}
            }
            (before, cursor) = (Before::Other, next);
        } else if let Some(next) = colons(cursor) {
            before = if before == Before::Angle { Before::Member } else { Before::Start };
            cursor = next;
        } else if let Some((inside, _, _, next)) = cursor.any_group() {
            add_paths(inside, paths);
            (before, cursor) = (Before::Other, next);
        } else if let Some((punct, next)) = cursor.punct() {
            before = match punct.as_char() {
                '.' if before == Before::Dot => Before::Other, // the range `..`
                '.' => Before::Dot,
                '$' => Before::Dollar,
                '>' => Before::Angle,
                _ => Before::Other,
            };
            cursor = next;
        } else {
            let lifetime = cursor.lifetime().map(|(_, next)| next);
            let Some(next) = lifetime.or_else(|| cursor.token_tree().map(|(_, next)| next)) else {
                return;
            };
            (before, cursor) = (Before::Other, next);
        }
    }
}

/// Identifiers with `::` between them at `cursor`, and the place after them.
fn path(cursor: Cursor) -> Option<(Vec<String>, Cursor)> {
    let (ident, mut end) = cursor.ident()?;
    let mut path = vec![text(&ident)];
    while let Some((ident, next)) = colons(end).and_then(Cursor::ident) {
        path.push(text(&ident));
        end = next;
    }
    Some((path, end))
}

/// Place after the `::` at `cursor`.
fn colons(cursor: Cursor) -> Option<Cursor> {
    let (first, next) = cursor.punct()?;
    let (second, after) = next.punct()?;
    (first.as_char() == ':' && second.as_char() == ':').then_some(after)
}

/// True if a `:` that is not half of a `::` is at `cursor`.
fn is_colon(cursor: Cursor) -> bool {
    cursor.punct().is_some_and(|(punct, _)| punct.as_char() == ':') && colons(cursor).is_none()
}
