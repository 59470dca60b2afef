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

    /// The same line under another name.
    pub fn renamed(&self, name: impl Into<String>) -> Self {
        Self { name: name.into(), points: self.points.clone() }
    }

    /// Adds the value at a step; what is no number has no place on a curve.
    pub fn push(&mut self, step: usize, value: f64) {
        if value.is_finite() {
            self.points.push((step as f64, value));
        }
    }
}

/// Writes `curves` as an SVG of 720 by 420 points.
///
/// # Errors
/// When the file cannot be written.
pub fn write(path: &Path, curves: &[&Curve]) -> Result<()> {
    write_measure(path, curves, "loss, nats per token")
}

/// The same for curves of another `measure`.
///
/// # Errors
/// As [`write()`].
pub fn write_measure(path: &Path, curves: &[&Curve], measure: &str) -> Result<()> {
    attention::picture::load_font()?; // plotters measures labels even in an SVG
    let points = || curves.iter().flat_map(|curve| curve.points.iter().copied());
    let right = points().map(|(x, _)| x).fold(1., f64::max);
    let (low, high) =
        points().fold((f64::MAX, f64::MIN), |(low, high), (_, y)| (low.min(y), high.max(y)));
    let margin = 0.05 * (high - low).max(0.1);
    let mut svg = String::new();
    {
        let root = SVGBackend::with_string(&mut svg, (720, 420)).into_drawing_area();
        root.fill(&WHITE)?;
        let mut chart = ChartBuilder::on(&root)
            .margin(16)
            .x_label_area_size(44)
            .y_label_area_size(56)
            .build_cartesian_2d(0f64..right, low - margin..high + margin)?;
        chart
            .configure_mesh()
            .light_line_style(TRANSPARENT)
            .x_desc("step")
            .y_desc(measure)
            .label_style(("sans-serif", 14))
            .draw()?;
        for (curve, color) in curves.iter().zip(COLORS.into_iter().cycle()) {
            let few = curve.points.len() <= 60;
            let dot = if few { 3 } else { 0 };
            let line = LineSeries::new(curve.points.iter().copied(), color.stroke_width(2));
            chart.draw_series(line.point_size(dot))?.label(&curve.name).legend(move |(x, y)| {
                PathElement::new([(x, y), (x + 18, y)], color.stroke_width(2))
            });
        }
        chart
            .configure_series_labels()
            .position(SeriesLabelPosition::UpperRight)
            .background_style(WHITE)
            .label_font(("sans-serif", 14))
            .draw()?;
        root.present()?;
    }
    atomic_file::write(path, svg.as_bytes())
}
