//! Routing of a text, as a table and as a picture. The table has a row per expert. The picture has
//! a strip per layer, a row per expert, a column per token; a cell is darker for a larger router
//! probability, and a dot marks the selected experts.

use std::fmt::Write;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use experiment::picture::load_font;
use plotters::coord::Shift;
use plotters::prelude::*;
use tensor_core::atomic_file;

use crate::expert_load::ExpertLoad;
use crate::router::RouterOutput;

/// Width of a token's column and height of an expert's row, in pixels.
const CELL_SIZE: (i32, i32) = (16, 24);
/// Margins for labels in pixels: left, and above each strip.
const LABEL_MARGINS: (i32, i32) = (80, 52);

/// Table of a layer with the selected experts `experts: (N, K)`: the fraction of the assignments to
/// each expert, and the bytes of `text` routed to it, the most frequent first.
pub fn expert_usage_table(text: &[u8], experts: &[u32], n_expert: usize) -> String {
    let k = experts.len() / text.len().max(1);
    let load = ExpertLoad::new(experts, n_expert, 0);
    let mut table = String::from("  expert    load   most frequent bytes\n");
    for (expert, fraction) in load.fractions().into_iter().enumerate() {
        let mut counts = [0usize; 256];
        for (&byte, selected) in text.iter().zip(experts.chunks_exact(k.max(1))) {
            counts[byte as usize] += usize::from(selected.contains(&(expert as u32)));
        }
        let mut bytes: Vec<u8> = (0..=255).filter(|&byte| counts[byte as usize] > 0).collect();
        bytes.sort_by_key(|&byte| std::cmp::Reverse(counts[byte as usize]));
        let bytes: Vec<String> = bytes.iter().take(12).map(|&byte| display_byte(byte)).collect();
        let _ = writeln!(table, "  {expert:>6} {:>6.1}%   {}", 100. * fraction, bytes.join(" "));
    }
    table
}

/// Displayed form of a byte, one character wide.
pub fn display_byte(byte: u8) -> String {
    match byte {
        b' ' => "␣".into(),
        b'\n' => "⏎".into(),
        0x21..=0x7e => char::from(byte).into(),
        _ => "·".into(),
    }
}

/// Writes the routing of `tokens` in the `layers` of a model as a PNG.
///
/// # Errors
/// When the sizes do not match, or the file cannot be written.
pub fn write_routing_png(path: &Path, layers: &[RouterOutput], tokens: &[String]) -> Result<()> {
    ensure!(!layers.is_empty() && !tokens.is_empty(), "there are no layers or tokens to draw");
    let (n, e) = layers[0].probabilities.dims2()?;
    ensure!(n == tokens.len(), "{n} routed tokens do not match {} names", tokens.len());
    load_font()?;
    let strip = LABEL_MARGINS.1 + CELL_SIZE.1 * e as i32 + 8;
    let size = (
        (LABEL_MARGINS.0 + CELL_SIZE.0 * n as i32 + 12) as u32,
        (strip * layers.len() as i32 + 8) as u32,
    );
    let draw = || -> Result<()> {
        // Drawn into a temporary file first, so that the write is atomic.
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
        let folder = folder.unwrap_or(Path::new("."));
        std::fs::create_dir_all(folder)?;
        let file = tempfile::Builder::new().suffix(".png").tempfile_in(folder)?;
        {
            let root = BitMapBackend::new(file.path(), size).into_drawing_area();
            root.fill(&WHITE)?;
            for (layer, router_output) in layers.iter().enumerate() {
                draw_layer(&root, layer, strip * layer as i32, router_output, tokens)?;
            }
            root.present()?;
        }
        atomic_file::write(path, &std::fs::read(file.path())?)
    };
    draw().with_context(|| format!("drawing {}", path.display()))
}

fn draw_layer(
    root: &DrawingArea<BitMapBackend<'_>, Shift>,
    layer: usize,
    top: i32,
    router_output: &RouterOutput,
    tokens: &[String],
) -> Result<()> {
    let probabilities: Vec<Vec<f64>> =
        router_output.probabilities.to_dtype(candle_core::DType::F64)?.to_vec2()?;
    let k = router_output.selected_experts.len() / tokens.len();
    let font = ("sans-serif", 14).into_font();
    root.draw(&Text::new(format!("layer {}", layer + 1), (8, top + 8), ("sans-serif", 16)))?;
    let (left, first_row) = (LABEL_MARGINS.0, top + LABEL_MARGINS.1);
    for (token, (name, row)) in tokens.iter().zip(&probabilities).enumerate() {
        let x = left + CELL_SIZE.0 * token as i32;
        root.draw(&Text::new(name.clone(), (x + 4, first_row - 18), font.clone()))?;
        for (expert, &p) in row.iter().enumerate() {
            let y = first_row + CELL_SIZE.1 * expert as i32;
            let cell = [(x, y), (x + CELL_SIZE.0 - 1, y + CELL_SIZE.1 - 1)];
            root.draw(&Rectangle::new(cell, color_of_probability(p).filled()))?;
            if router_output.selected_experts[token * k..][..k].contains(&(expert as u32)) {
                let middle = (x + CELL_SIZE.0 / 2, y + CELL_SIZE.1 / 2);
                root.draw(&Circle::new(middle, 3, RGBColor(230, 159, 0).filled()))?;
            }
        }
    }
    for expert in 0..probabilities[0].len() {
        let position = (8, first_row + CELL_SIZE.1 * expert as i32 + 4);
        root.draw(&Text::new(format!("expert {expert}"), position, font.clone()))?;
    }
    Ok(())
}

/// Color of a probability, from nearly white at 0 through blue to nearly black at 1.
fn color_of_probability(p: f64) -> RGBColor {
    let mix = |from: f64, to: f64| (from + (to - from) * p.clamp(0., 1.)) as u8;
    RGBColor(mix(240., 8.), mix(244., 29.), mix(250., 88.))
}
