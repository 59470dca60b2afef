//! Heat map of attention weights: rows are queries, columns are keys.

use std::fmt::Write;

use super::chart::escape;
use crate::attention::AttentionMap;

/// Side of a cell.
const CELL: f64 = 14.;
/// Space for the token labels on the left and at the top.
const MARGIN: f64 = 56.;

/// SVG figure of the map of one head.
pub(crate) fn svg(map: &AttentionMap) -> String {
    let side = MARGIN + CELL * map.tokens.len() as f64;
    let title = escape(&map.title);
    let mut svg = format!(r#"<svg viewBox="0 0 {side} {side}" role="img" aria-label="{title}">"#);
    for (i, token) in map.tokens.iter().enumerate() {
        let (position, token) = (MARGIN + CELL * (i as f64 + 0.75), escape(token.trim()));
        let edge = MARGIN - 4.;
        let _ =
            write!(svg, r#"<text x="{edge}" y="{position:.1}" text-anchor="end">{token}</text>"#);
        let _ = write!(
            svg,
            r#"<text transform="translate({position:.1} {edge}) rotate(-90)">{token}</text>"#
        );
    }
    for (i, row) in map.weights.iter().enumerate() {
        for (j, weight) in row.iter().enumerate().filter(|(_, weight)| **weight >= 0.01) {
            let (x, y) = (MARGIN + CELL * j as f64, MARGIN + CELL * i as f64);
            let _ = write!(svg, r#"<rect class="cell" x="{x}" y="{y}" width="{CELL}" "#);
            let _ = write!(svg, r#"height="{CELL}" opacity="{weight:.2}"/>"#);
        }
    }
    format!("<figure>{svg}</svg><figcaption>{title}</figcaption></figure>")
}
