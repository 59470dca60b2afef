//! Formulas: LaTeX to MathML.

use anyhow::{Result, anyhow};
use pulldown_latex::config::DisplayMode;
use pulldown_latex::{Event, Parser, RenderConfig, Storage, push_mathml};

use crate::protect;

/// MathML of `\Vert`.
const STRETCHED_BARS: &str = "<mo symmetric=\"true\" stretchy=\"true\">‖</mo>";

/// MathML of a formula within a line.
pub(crate) fn inline(tex: &str) -> Result<String> {
    mathml(tex, DisplayMode::Inline)
}

/// MathML of a formula on a line of its own.
pub(crate) fn display(tex: &str) -> Result<String> {
    mathml(tex, DisplayMode::Block)
}

fn mathml(tex: &str, display_mode: DisplayMode) -> Result<String> {
    let storage = Storage::new();
    let events = Parser::new(tex, &storage).collect::<Result<Vec<Event<'_>>, _>>();
    let events = events.map_err(|error| anyhow!("the formula {tex}\n{error}"))?;
    let mut html = String::new();
    let events = events.into_iter().map(Ok::<_, std::fmt::Error>);
    push_mathml(&mut html, events, RenderConfig { display_mode, ..RenderConfig::default() })?;
    // pulldown-latex 0.8 forgets a space before the size of \big and its relatives,
    let html = html.replace("\"minsize", "\" minsize");
    // and makes the bars of KL(p ‖ q) as high as the highest part of the line.
    let html = html.replace(STRETCHED_BARS, "<mo stretchy=\"false\">‖</mo>");
    Ok(protect(&html))
}
