//! Attention maps as PNG: one square per head, dark where a query (row) has a high weight on a key
//! (column).

use std::path::Path;

use anyhow::{Result, ensure};
use candle_core::{DType, Tensor};
use experiment::picture::{Canvas, write_png};
use plotters::prelude::*;

/// Size of one map with its labels, in pixels.
const PANEL_SIZE: (u32, u32) = (440, 460);

/// Writes the attention maps `weights: (H, T, T)` of a sentence of T `tokens` as a PNG, with one
/// title per head.
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
    ensure!(
        h == titles.len() && t == tokens.len() && t == keys && t > 0,
        "attention maps ({h}, {t}, {keys}) do not fit {} titles and {} tokens",
        titles.len(),
        tokens.len()
    );
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

fn draw_map(panel: &Canvas<'_>, map: &[Vec<f32>], title: &str, tokens: &[&str]) -> Result<()> {
    let t = tokens.len();
    let mut chart = ChartBuilder::on(panel)
        .caption(title, ("sans-serif", 20))
        .margin(12)
        .x_label_area_size(48)
        .y_label_area_size(64)
        .build_cartesian_2d((0..t - 1).into_segmented(), (0..t - 1).into_segmented())?;
    let label = |at: &SegmentValue<usize>, index: fn(usize, usize) -> usize| match at {
        SegmentValue::CenterOf(i) if *i < t => tokens[index(*i, t)].to_string(),
        _ => String::new(),
    };
    chart
        .configure_mesh()
        .disable_mesh()
        .x_labels(t)
        .y_labels(t)
        .x_label_formatter(&|at| label(at, |i, _| i))
        .y_label_formatter(&|at| label(at, |i, t| t - 1 - i))
        .label_style(("sans-serif", 13))
        .axis_desc_style(("sans-serif", 15))
        .x_desc("key position")
        .y_desc("query position")
        .draw()?;
    let cells = (0..t * t).map(|at| {
        let (query, key) = (at / t, at % t);
        let y = t - 1 - query; // the first query on top, as in a matrix
        let edge = |i| if i < t { SegmentValue::Exact(i) } else { SegmentValue::Last };
        let corner = |x, y| (edge(x), edge(y));
        let shade = color_of_weight(map[query][key]);
        Rectangle::new([corner(key, y), corner(key + 1, y + 1)], shade.filled())
    });
    chart.draw_series(cells)?;
    Ok(())
}

/// Color of a weight: white at 0, through blue, to near black at 1.
fn color_of_weight(weight: f32) -> RGBColor {
    let mix = |from: f32, to: f32| (from + (to - from) * weight.clamp(0., 1.).sqrt()) as u8;
    RGBColor(mix(255., 8.), mix(255., 29.), mix(255., 88.))
}
