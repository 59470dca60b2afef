//! Line charts as SVG. The colors come from the page's style sheet, so they fit light and dark
//! themes and print.

use std::fmt::Write;

/// Width and height of the view box; the page scales the chart.
const SIZE: (f64, f64) = (640., 260.);
/// Margins for the labels: left, top, right, bottom.
const MARGIN: (f64, f64, f64, f64) = (56., 12., 20., 40.);

/// A curve.
pub(crate) struct Line {
    /// Name in the legend.
    pub(crate) name: String,
    /// Points (x, y), in ascending order of x.
    pub(crate) points: Vec<(f64, f64)>,
}

/// A chart of up to four curves over a common x axis.
pub(crate) struct Chart<'a> {
    /// Label of the y axis, with the unit.
    pub(crate) y: &'a str,
    /// Label of the x axis.
    pub(crate) x: &'a str,
    /// At most four, because the style sheet has four colors.
    pub(crate) lines: Vec<Line>,
    /// Range that the y axis covers at least, such as 0 to 1 for proportions.
    pub(crate) y_range: Option<[f64; 2]>,
}

/// Ranges of x and y that map to the drawing area.
struct Axes {
    x: (f64, f64),
    y: (f64, f64),
}

impl Axes {
    /// SVG coordinates of a point.
    fn to_svg(&self, x: f64, y: f64) -> (f64, f64) {
        let (width, height) = (SIZE.0 - MARGIN.0 - MARGIN.2, SIZE.1 - MARGIN.1 - MARGIN.3);
        let (left, right) = self.x;
        let x_fraction = if right > left { (x - left) / (right - left) } else { 0.5 };
        let y_fraction = (y - self.y.0) / (self.y.1 - self.y.0);
        (MARGIN.0 + x_fraction * width, MARGIN.1 + (1. - y_fraction) * height)
    }
}

impl Chart<'_> {
    /// SVG figure of the chart; empty if there are no finite points.
    pub(crate) fn svg(&self) -> String {
        let points = self.lines.iter().flat_map(|line| &line.points);
        let (x, y): (Vec<f64>, Vec<f64>) = points.copied().filter(is_finite).unzip();
        let Some((left, right)) = min_max(x) else { return String::new() };
        let Some((low, high)) = min_max(y.into_iter().chain(self.y_range.into_iter().flatten()))
        else {
            return String::new();
        };
        let ys = ticks(low, high);
        let axes = Axes { x: (left, right), y: (low.min(ys[0]), high.max(ys[ys.len() - 1])) };

        let (y_label, x_label) = (escape(self.y), escape(self.x));
        let mut svg = format!(
            r#"<svg viewBox="0 0 {} {}" role="img" aria-label="{y_label} over {x_label}">"#,
            SIZE.0, SIZE.1
        );
        grid(&mut svg, &axes, &ys);
        let (right, bottom) = (SIZE.0 - MARGIN.2, SIZE.1 - MARGIN.3 + 33.);
        let _ = write!(svg, r#"<text x="{right}" y="{bottom}" text-anchor="end">{x_label}</text>"#);
        let mut legend = String::new();
        for (i, Line { name, points }) in self.lines.iter().enumerate() {
            let to_text = |(x, y)| {
                let (x, y) = axes.to_svg(x, y);
                format!("{x:.1},{y:.1}")
            };
            let points = points.iter().copied().filter(is_finite).map(to_text);
            let points = points.collect::<Vec<String>>().join(" ");
            let _ = write!(svg, r#"<polyline class="line c{i}" points="{points}"/>"#);
            let _ = write!(legend, r#"<span class="key c{i}">{}</span>"#, escape(name));
        }
        format!("<figure><figcaption>{y_label}{legend}</figcaption>{svg}</svg></figure>")
    }
}

/// Draws grid lines and labels at `ys`, and the labels of the x axis.
fn grid(svg: &mut String, axes: &Axes, ys: &[f64]) {
    let (start, end) = (MARGIN.0, SIZE.0 - MARGIN.2);
    for &y in ys {
        let (_, line_y) = axes.to_svg(axes.x.0, y);
        let (label_x, label_y, label) = (start - 6., line_y + 4., format_number(y));
        let _ = write!(
            svg,
            r#"<line class="grid" x1="{start}" x2="{end}" y1="{line_y:.1}" y2="{line_y:.1}"/>"#
        );
        let _ =
            write!(svg, r#"<text x="{label_x}" y="{label_y:.1}" text-anchor="end">{label}</text>"#);
    }
    let (left, right) = axes.x;
    for x in ticks(left, right).into_iter().filter(|x| (left..=right).contains(x)) {
        let (label_x, _) = axes.to_svg(x, axes.y.0);
        let (label_y, label) = (SIZE.1 - MARGIN.3 + 16., format_number(x));
        let _ = write!(
            svg,
            r#"<text x="{label_x:.1}" y="{label_y}" text-anchor="middle">{label}</text>"#
        );
    }
}

/// HTML-escaped text, for the SVG that is inserted without escaping.
pub(super) fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

fn is_finite((x, y): &(f64, f64)) -> bool {
    x.is_finite() && y.is_finite()
}

/// Minimum and maximum of `numbers`; `None` if there are none.
fn min_max(numbers: impl IntoIterator<Item = f64>) -> Option<(f64, f64)> {
    let extend = |range: Option<(f64, f64)>, x: f64| {
        Some(range.map_or((x, x), |(low, high)| (low.min(x), high.max(x))))
    };
    numbers.into_iter().fold(None, extend)
}

/// Two to nine round numbers, evenly spaced, that enclose the range from `low` to `high`.
fn ticks(low: f64, high: f64) -> Vec<f64> {
    let span = if high > low { high - low } else { high.abs().max(1.) };
    let raw = span / 5.;
    let power = 10f64.powf(raw.log10().floor());
    let step = [1., 2., 5., 10.].map(|m| m * power).into_iter().find(|step| *step >= raw);
    let step = step.unwrap_or(raw);
    let (first, last) = ((low / step).floor() as i64, (high / step).ceil() as i64);
    (first..=last.max(first + 1)).map(|i| i as f64 * step).collect()
}

/// Short form of a number: 15,000 as `15k`.
fn format_number(x: f64) -> String {
    let (x, unit) = match x.abs() {
        1e6.. => (x / 1e6, "M"),
        1e4.. => (x / 1e3, "k"),
        _ => (x, ""),
    };
    let text = format!("{x:.4}");
    format!("{}{unit}", text.trim_end_matches('0').trim_end_matches('.'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_enclose_the_range() {
        assert_eq!(ticks(0., 1.).len(), 6);
        for (low, high) in [(0.03, 6.9), (-3., 1200.), (5., 5.), (0., 0.)] {
            let ticks = ticks(low, high);
            assert!(ticks[0] <= low && ticks[ticks.len() - 1] >= high, "{low} {high} {ticks:?}");
            assert!((2..=9).contains(&ticks.len()), "{ticks:?}");
        }
    }

    #[test]
    fn charts_skip_points_that_are_not_finite() {
        let chart = |points| {
            let lines = vec![Line { name: "a <b>".into(), points }];
            Chart { y: "loss", x: "step", lines, y_range: None }.svg()
        };
        assert_eq!(chart(vec![(1., f64::NAN)]), "");
        let svg = chart(vec![(1., 2.), (2., f64::INFINITY), (3., 1.)]);
        assert!(
            !svg.contains("NaN") && !svg.contains("inf") && svg.contains("a &lt;b&gt;"),
            "{svg}"
        );
        assert!(chart(vec![(1., 1.)]).contains("polyline"));
    }
}
