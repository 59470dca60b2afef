//! Histogram of named series of values, as a PNG.

use std::ops::Range;
use std::path::Path;

use anyhow::{Result, ensure};
use plotters::prelude::*;

use crate::picture::write_png;

const BINS: usize = 40;
const SIZE: (u32, u32) = (720, 420);
/// Colors that most people can tell apart.
const COLORS: [RGBColor; 4] =
    [RGBColor(0, 114, 178), RGBColor(200, 60, 30), RGBColor(0, 158, 115), RGBColor(230, 159, 0)];

/// Named values, of which the histogram shows how often each size occurs.
#[derive(Debug, Clone)]
pub struct Series<'a> {
    /// Name in the legend.
    pub name: &'a str,
    /// Values.
    pub values: Vec<f64>,
}

/// Writes a PNG histogram of `series`, drawn over each other, with axis labels `axes`: [x, y]. The
/// horizontal axis covers all values, and at least `range`.
///
/// # Errors
/// When a value is not finite, or the file cannot be written.
pub fn write(path: &Path, series: &[Series<'_>], axes: [&str; 2], range: Range<f64>) -> Result<()> {
    let all = || series.iter().flat_map(|series| series.values.iter().copied());
    ensure!(all().all(f64::is_finite), "cannot draw the histogram: a {} is not finite", axes[0]);
    let (low, high) =
        all().fold((range.start, range.end), |(low, high), x| (low.min(x), high.max(x)));
    let bin_width = (high - low) / BINS as f64;
    let counts: Vec<[i32; BINS]> = series
        .iter()
        .map(|series| {
            let mut counts = [0; BINS];
            for value in &series.values {
                counts[(((value - low) / bin_width) as usize).min(BINS - 1)] += 1;
            }
            counts
        })
        .collect();
    let max_count = counts.iter().flatten().copied().max().unwrap_or(0);
    write_png(path, SIZE, |root| {
        let mut chart = ChartBuilder::on(root)
            .margin(16)
            .x_label_area_size(44)
            .y_label_area_size(56)
            .build_cartesian_2d(low..high, 0..max_count + 1)?;
        chart
            .configure_mesh()
            .light_line_style(TRANSPARENT)
            .x_desc(axes[0])
            .y_desc(axes[1])
            .label_style(("sans-serif", 14))
            .draw()?;
        for ((series, counts), color) in series.iter().zip(&counts).zip(COLORS.iter().cycle()) {
            let style = color.mix(0.5).filled();
            let bars = counts.iter().enumerate().map(|(bin, count)| {
                let left = low + bin_width * bin as f64;
                Rectangle::new([(left, 0), (left + bin_width, *count)], style)
            });
            chart
                .draw_series(bars)?
                .label(series.name)
                .legend(move |(x, y)| Rectangle::new([(x, y - 5), (x + 14, y + 5)], style));
        }
        chart
            .configure_series_labels()
            .position(SeriesLabelPosition::UpperLeft)
            .background_style(WHITE)
            .label_font(("sans-serif", 14))
            .draw()?;
        Ok(())
    })
}
