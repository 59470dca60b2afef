//! Losses over the steps as an SVG picture, or whatever else is measured; curves of few points have dots.

use std::path::Path;

use anyhow::Result;
use plotters::prelude::*;
use tensor_core::atomic_file;

/// Told apart by most eyes; the first two are those of training and validation.
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

/// A named line of (step, value) points.
#[derive(Debug, Clone)]
pub struct Curve {
    name: String,
    points: Vec<(f64, f64)>,
}

impl Curve {
    /// A line without points.
    pub fn new(name: impl Into<String>) -> Self {
        Self { name: name.into(), points: Vec::new() }
    }

    /// Copy of this curve under another name.
    pub fn with_name(&self, name: impl Into<String>) -> Self {
        Self { name: name.into(), points: self.points.clone() }
    }

    /// Its (step, value) points.
    pub fn points(&self) -> &[(f64, f64)] {
        &self.points
    }

    /// Adds the value at a step; ignores NaN and infinities.
    pub fn push(&mut self, step: usize, value: f64) {
        if value.is_finite() {
            self.points.push((step as f64, value));
        }
    }
}

/// Writes `curves` as an SVG of 720 by 420 points, or nothing where none has a point. A curve without points is not named, but
/// its color is its own.
///
/// # Errors
/// When the file cannot be written.
pub fn write_svg(path: &Path, curves: &[&Curve]) -> Result<()> {
    write_svg_with_axes(path, curves, ["step", "loss, nats per token"])
}

/// Writes an SVG like [`write_svg()`] with axis labels `axes`: [x, y].
///
/// # Errors
/// As [`write_svg()`].
pub fn write_svg_with_axes(path: &Path, curves: &[&Curve], axes: [&str; 2]) -> Result<()> {
    attention::picture::load_font()?; // plotters measures labels even in an SVG
    let curves: Vec<(&Curve, RGBColor)> = curves
        .iter()
        .copied()
        .zip(COLORS.into_iter().cycle())
        .filter(|(c, _)| !c.points.is_empty())
        .collect();
    if curves.is_empty() {
        return Ok(()); // plotters would look for the ends of an axis for ever
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
        // Two names side by side, above the chart: a curve may be anywhere in it.
        let (names, chart) = root.split_vertically(12 + 20 * curves.len().div_ceil(2) as i32);
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
            names.draw(&PathElement::new([(x, y), (x + 18, y)], color.stroke_width(2)))?;
            names.draw(&Text::new(&curve.name[..], (x + 26, y - 7), ("sans-serif", 14)))?;
        }
        root.present()?;
    }
    atomic_file::write(path, svg.as_bytes())
}
