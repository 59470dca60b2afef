//! How cost grows: the figures and the table of the measurements.

use anyhow::Result;
use plotters::style::text_anchor::HPos;

use crate::artifacts::Artifact;
use crate::cost_curves::{CostCurves, Exponents, Quantity};
use crate::plot::{self, Area, Axes, Mark, Series};
use crate::step_cost::Axis;

/// Height of a panel, and of the lines above all of them.
const PANEL_HEIGHT: u32 = 230;
const KEY_HEIGHT: u32 = 48;
/// Header of the table of [`CostCurves::rows`].
pub(crate) const HEADER: [&str; 8] = [
    "varied",
    "sizes",
    "time: measured",
    "counted",
    "measured / counted",
    "memory: measured",
    "counted",
    "measured / counted",
];

/// The table, and two figures if there are measurements.
pub(crate) fn artifacts() -> Result<Vec<Artifact>> {
    let curves = CostCurves::committed()?;
    let mut artifacts = vec![Artifact::table("cost_curves", &HEADER, &curves.rows())];
    if !curves.points.is_empty() {
        artifacts.push(Artifact::figure("cost_time", figure(&curves, Quantity::Time)?));
        artifacts.push(Artifact::figure("cost_memory", figure(&curves, Quantity::Memory)?));
    }
    Ok(artifacts)
}

/// Figure of six panels, one for each axis.
fn figure(curves: &CostCurves, quantity: Quantity) -> Result<String> {
    plot::figure(KEY_HEIGHT + 3 * PANEL_HEIGHT, |area| {
        let (key, panels) = area.split_vertically(KEY_HEIGHT as i32);
        let CostCurves { machine, threads, .. } = curves;
        let of_machine = format!("{machine}, {threads} threads");
        let explained = "dots: measured; line: counted; exponents: measured ± 95 % (counted)";
        let middle = plot::WIDTH as i32 / 2;
        plot::text(&key, explained, (middle, 14), HPos::Center)?;
        plot::text(&key, &of_machine, (middle, 34), HPos::Center)?;
        for (axis, area) in Axis::ALL.into_iter().zip(panels.split_evenly((3, 2))) {
            draw_panel(&area, curves, axis, quantity)?;
        }
        Ok(())
    })
}

/// Measured costs along `axis` as dots, and the counted ones as a line: bytes as they are, FLOPs at
/// the mean speed of the panel.
fn draw_panel(area: &Area<'_>, curves: &CostCurves, axis: Axis, quantity: Quantity) -> Result<()> {
    let points = curves.of(axis);
    let Some(exponents) = curves.exponents(axis, quantity) else { return Ok(()) };
    let (label, unit) = quantity.unit();
    let costs: Vec<(f64, f64)> = points.iter().map(|point| quantity.costs(point)).collect();
    let log_ratios: f64 = costs.iter().map(|(measured, counted)| (measured / counted).ln()).sum();
    let scale = match quantity {
        Quantity::Time => (log_ratios / costs.len() as f64).exp(),
        Quantity::Memory => 1.,
    };
    let log_sizes = || points.iter().map(|point| (point.size as f64).log2());
    let measured = costs.iter().map(|(measured, _)| (measured / unit).log10());
    let counted = costs.iter().map(|(_, counted)| (counted * scale / unit).log10());
    let dots: Vec<(f64, f64)> = log_sizes().zip(measured).collect();
    let line: Vec<(f64, f64)> = log_sizes().zip(counted).collect();
    let ys = || dots.iter().chain(&line).map(|(_, y)| *y);
    let (low, high) = (ys().fold(f64::INFINITY, f64::min), ys().fold(f64::NEG_INFINITY, f64::max));
    let (first, last) = (dots[0].0, dots[dots.len() - 1].0);
    let Exponents { measured, counted, .. } = exponents;
    let title = format!("{axis}: {measured} ({:.2})", counted.value);
    let axis_name = axis.to_string();
    let axes = Axes {
        title: &title,
        x: (axis_name.as_str(), first - 0.3..last + 0.3),
        y: (label, low - 0.1..high + 0.1),
        x_tick: power_of_two,
    };
    let series = [Series::line("", 1, line), Series::line("", 0, dots).marked(Mark::Dots)];
    plot::chart(area, &axes, &series)
}

/// 2^x for a whole x; nothing at ticks between.
fn power_of_two(x: f64) -> String {
    if (x - x.round()).abs() < 1e-6 { plot::plain(2f64.powf(x.round())) } else { String::new() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cost_curves::tests::as_counted;

    #[test]
    fn figures_and_table_can_be_drawn() -> Result<()> {
        for (quantity, title) in
            [(Quantity::Time, "batch: 1.00 ± 0.00 (1.00)"), (Quantity::Memory, "vocabulary: 0.37")]
        {
            let svg = figure(&as_counted(), quantity)?;
            assert!(svg.contains(title), "{title}");
        }
        assert_eq!(as_counted().rows().len(), 6);
        assert!(as_counted().rows().iter().all(|row| row.len() == HEADER.len()));
        Ok(())
    }
}
