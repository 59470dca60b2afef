//! Who looks at whom: attention weights as a square of cells, rows the tokens that look.

use std::fmt::Write;

use super::escape;
use crate::attention::AttentionMap;

/// Side of a cell, and room for the tokens beside it.
const CELL: f64 = 14.;
const ROOM: f64 = 56.;

/// The map of one head.
pub(crate) fn svg(map: &AttentionMap) -> String {
    let side = ROOM + CELL * map.tokens.len() as f64;
    let title = escape(&map.title);
    let mut svg = format!(r#"<svg viewBox="0 0 {side} {side}" role="img" aria-label="{title}">"#);
    for (i, token) in map.tokens.iter().enumerate() {
        let (at, token) = (ROOM + CELL * (i as f64 + 0.75), escape(token.trim()));
        let edge = ROOM - 4.;
        let _ = write!(
            svg,
            r#"<text x="{edge}" y="{at:.1}" text-anchor="end">{token}</text><text transform="translate({at:.1} {edge}) rotate(-90)">{token}</text>"#
        );
    }
    for (i, row) in map.weights.iter().enumerate() {
        for (j, weight) in row.iter().enumerate().filter(|(_, weight)| **weight >= 0.01) {
            let (x, y) = (ROOM + CELL * j as f64, ROOM + CELL * i as f64);
            let _ = write!(
                svg,
                r#"<rect class="cell" x="{x}" y="{y}" width="{CELL}" height="{CELL}" opacity="{weight:.2}"/>"#
            );
        }
    }
    format!("<figure>{svg}</svg><figcaption>{title}</figcaption></figure>")
}
