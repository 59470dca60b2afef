//! Figures: the content of an SVG file, without the colors that it has as a file of its own.

use crate::protect;

/// `svg` as part of a page, with its alternative text.
pub(crate) fn inline(svg: &str, alt: &str) -> String {
    let (before, after) = match (svg.find("<style>"), svg.find("</style>")) {
        (Some(start), Some(end)) => (&svg[..start], &svg[end + "</style>".len()..]),
        _ => (svg, ""),
    };
    let alt = alt.replace('&', "&amp;").replace('"', "&quot;").replace('<', "&lt;");
    let svg = format!("{before}{after}").replacen(
        "<svg ",
        &format!("<svg class=\"figure\" role=\"img\" aria-label=\"{alt}\" "),
        1,
    );
    protect(svg.trim())
}
