//! Attention maps as a picture: one square per head, dark where a query (row) takes much from a key (column).

use std::path::Path;

use anyhow::{Context, Result, ensure};
use candle_core::{DType, Tensor};
use plotters::prelude::*;
use plotters::style::{FontStyle, register_font};
use tensor_core::atomic_file;

/// Side of one map with its labels, in pixels.
const PANEL_SIZE: (u32, u32) = (440, 460);

/// Makes a font known to plotters: a subset of DejaVu Sans travels in the program, so that pictures need no fonts of
/// the system.
///
/// # Errors
/// Never with the font we ship; plotters' own check.
pub fn load_font() -> Result<()> {
    let bytes = include_bytes!("../assets/DejaVuSans-subset.ttf");
    register_font("sans-serif", FontStyle::Normal, bytes)
        .map_err(|_| anyhow::anyhow!("the built-in font cannot be read"))
}

/// Writes the maps `weights: (H, T, T)` of a sentence of T `tokens` as a PNG, `titles` one per head.
///
/// # Errors
/// When the shapes do not fit or the file cannot be written.
pub fn write_attention_png(
    path: &Path,
    weights: &Tensor,
    titles: &[&str],
    tokens: &[&str],
) -> Result<()> {
    let (h, t, keys) = weights.dims3()?;
    ensure!(h == titles.len() && t == tokens.len() && t == keys && t > 0, "sizes differ");
    let weights = weights.to_dtype(DType::F32)?.to_vec3::<f32>()?;
    let columns = h.min(4);
    let rows = h.div_ceil(columns);
    let size = (PANEL_SIZE.0 * columns as u32, PANEL_SIZE.1 * rows as u32);
    write_png(path, size, |root| {
        let panels = root.split_evenly((rows, columns));
        for (panel, (map, title)) in panels.iter().zip(weights.iter().zip(titles)) {
            draw_map(panel, map, title, tokens)?;
        }
        Ok(())
    })
}

/// A place to draw on.
pub type Canvas<'a> = DrawingArea<BitMapBackend<'a>, plotters::coord::Shift>;

/// Writes what `draw` puts on a white canvas of `size` pixels as a PNG. It is drawn beside its place and renamed: a picture is
/// there whole or not at all.
///
/// # Errors
/// Those of `draw`, or when the file cannot be written.
pub fn write_png(
    path: &Path,
    size: (u32, u32),
    draw: impl FnOnce(&Canvas<'_>) -> Result<()>,
) -> Result<()> {
    let drawn = || -> Result<()> {
        load_font()?;
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
        let folder = folder.unwrap_or(Path::new("."));
        let file = tempfile::Builder::new().suffix(".png").tempfile_in(folder)?;
        {
            let root = BitMapBackend::new(file.path(), size).into_drawing_area();
            root.fill(&WHITE)?;
            draw(&root)?;
            root.present()?;
        }
        atomic_file::write(path, &std::fs::read(file.path())?)
    };
    drawn().with_context(|| format!("drawing {}", path.display()))
}

fn draw_map(panel: &Canvas<'_>, map: &[Vec<f32>], title: &str, tokens: &[&str]) -> Result<()> {
    let t = tokens.len();
    let mut chart = ChartBuilder::on(panel)
        .caption(title, ("sans-serif", 20))
        .margin(12)
        .x_label_area_size(48)
        .y_label_area_size(64)
        .build_cartesian_2d((0..t - 1).into_segmented(), (0..t - 1).into_segmented())?;
    let word = |at: &SegmentValue<usize>, flip: fn(usize, usize) -> usize| match at {
        SegmentValue::CenterOf(i) if *i < t => tokens[flip(*i, t)].to_string(),
        _ => String::new(),
    };
    chart
        .configure_mesh()
        .disable_mesh()
        .x_labels(t)
        .y_labels(t)
        .x_label_formatter(&|at| word(at, |i, _| i))
        .y_label_formatter(&|at| word(at, |i, t| t - 1 - i))
        .label_style(("sans-serif", 13))
        .axis_desc_style(("sans-serif", 15))
        .x_desc("key position")
        .y_desc("query position")
        .draw()?;
    let cells = (0..t * t).map(|at| {
        let (query, key) = (at / t, at % t);
        let up = t - 1 - query; // the first query on top, as in a matrix
        let edge = |i| if i < t { SegmentValue::Exact(i) } else { SegmentValue::Last };
        let corner = |x, y| (edge(x), edge(y));
        let shade = color_of_weight(map[query][key]);
        Rectangle::new([corner(key, up), corner(key + 1, up + 1)], shade.filled())
    });
    chart.draw_series(cells)?;
    Ok(())
}

/// White at 0 through blue to near black at 1.
fn color_of_weight(weight: f32) -> RGBColor {
    let mix = |from: f32, to: f32| (from + (to - from) * weight.clamp(0., 1.).sqrt()) as u8;
    RGBColor(mix(255., 8.), mix(255., 29.), mix(255., 88.))
}
