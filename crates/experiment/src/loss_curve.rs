//! Loss curves, or other metrics over the steps, as an SVG picture; curves with few points have
//! dots.

use std::path::Path;

use anyhow::Result;
use plotters::prelude::*;
use tensor_core::atomic_file;

use crate::picture::load_font;

/// Colors that most people can tell apart; the first two are those of training and validation.
const COLORS: [RGBColor; 8] = [
    RGBColor(120, 144, 170),
    RGBColor(200, 60, 30),
    RGBColor(0, 114, 178),
    RGBColor(0, 158, 115),
    RGBColor(230, 159, 0),
    RGBColor(204, 121, 167),
    RGBColor(60, 60, 60),
    RGBColor(86, 180, 233),
];

/// Named curve of (step, value) points.
#[derive(Debug, Clone)]
pub struct Curve {
    name: String,
    points: Vec<(f64, f64)>,
}

impl Curve {
    /// Empty curve with this name.
    pub fn new(name: impl Into<String>) -> Self {
        Self { name: name.into(), points: Vec::new() }
    }

    /// Copy of this curve under another name.
    pub fn with_name(&self, name: impl Into<String>) -> Self {
        Self { name: name.into(), points: self.points.clone() }
    }

    /// Points of the curve: (step, value).
    pub fn points(&self) -> &[(f64, f64)] {
        &self.points
    }

    /// Adds the value of a step; ignores NaN and infinities.
    pub fn push(&mut self, step: usize, value: f64) {
        if value.is_finite() {
            self.points.push((step as f64, value));
        }
    }
}

/// Writes `curves` as an SVG of 720 by 420 pixels, or nothing if all are empty. An empty curve is
/// left out of the legend but keeps its color.
///
/// # Errors
/// When the file cannot be written.
pub fn write_svg(path: &Path, curves: &[&Curve]) -> Result<()> {
    write_svg_with_axes(path, curves, ["step", "loss, nats per token"])
}

/// Writes an SVG like [`write_svg()`] with axis labels `axes`: [x, y].
///
/// # Errors
/// Those of [`write_svg()`].
pub fn write_svg_with_axes(path: &Path, curves: &[&Curve], axes: [&str; 2]) -> Result<()> {
    load_font()?; // plotters measures labels even in an SVG
    let curves: Vec<(&Curve, RGBColor)> = curves
        .iter()
        .copied()
        .zip(COLORS.into_iter().cycle())
        .filter(|(c, _)| !c.points.is_empty())
        .collect();
    if curves.is_empty() {
        return Ok(()); // plotters would search for the ends of the axes forever
    }
    let points = || curves.iter().flat_map(|(curve, _)| curve.points.iter().copied());
    let right = points().map(|(x, _)| x).fold(1., f64::max);
    let (low, high) =
        points().fold((f64::MAX, f64::MIN), |(low, high), (_, y)| (low.min(y), high.max(y)));
    let margin = 0.05 * (high - low).max(0.1);
    let mut svg = String::new();
    {
        let root = SVGBackend::with_string(&mut svg, (720, 420)).into_drawing_area();
        root.fill(&WHITE)?;
        // The legend, two names side by side, is above the chart, where it cannot hide a curve.
        let (legend, chart) = root.split_vertically(12 + 20 * curves.len().div_ceil(2) as i32);
        let mut chart = ChartBuilder::on(&chart)
            .margin(16)
            .x_label_area_size(44)
            .y_label_area_size(56)
            .build_cartesian_2d(0f64..right, low - margin..high + margin)?;
        chart
            .configure_mesh()
            .light_line_style(TRANSPARENT)
            .x_desc(axes[0])
            .y_desc(axes[1])
            .label_style(("sans-serif", 14))
            .draw()?;
        for (i, (curve, color)) in curves.iter().enumerate() {
            let dot = if curve.points.len() <= 60 { 3 } else { 0 };
            let line = LineSeries::new(curve.points.iter().copied(), color.stroke_width(2));
            chart.draw_series(line.point_size(dot))?;
            let (x, y) = (72 + 320 * (i % 2) as i32, 20 + 20 * (i / 2) as i32);
            legend.draw(&PathElement::new([(x, y), (x + 18, y)], color.stroke_width(2)))?;
            legend.draw(&Text::new(&curve.name[..], (x + 26, y - 7), ("sans-serif", 14)))?;
        }
        root.present()?;
    }
    atomic_file::write(path, svg.as_bytes())
}
