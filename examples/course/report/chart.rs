//! Curves as SVG, in the page's own colours, so that they are right in light, in dark and on paper.

use std::fmt::Write;

use super::escape;

/// Its size, in units of the picture; the page scales it.
const SIZE: (f64, f64) = (640., 260.);
/// Room for what is written: left, top, right, bottom.
const MARGIN: (f64, f64, f64, f64) = (56., 12., 20., 40.);

/// A curve.
pub(crate) struct Line {
    /// As the legend names it.
    pub(crate) name: String,
    /// (x, y), x rising.
    pub(crate) points: Vec<(f64, f64)>,
}

/// Curves over one axis.
pub(crate) struct Chart<'a> {
    /// What is measured, with its unit.
    pub(crate) y: &'a str,
    /// Over what.
    pub(crate) x: &'a str,
    /// At most four, as there are four colours.
    pub(crate) lines: Vec<Line>,
    /// What y is at least shown for: from 0 to 1, for shares.
    pub(crate) y_range: Option<[f64; 2]>,
}

/// Where numbers are in the picture.
struct Axes {
    x: (f64, f64),
    y: (f64, f64),
}

impl Axes {
    fn to_svg(&self, x: f64, y: f64) -> (f64, f64) {
        let (width, height) = (SIZE.0 - MARGIN.0 - MARGIN.2, SIZE.1 - MARGIN.1 - MARGIN.3);
        let (left, right) = self.x;
        let across = if right > left { (x - left) / (right - left) } else { 0.5 };
        let up = (y - self.y.0) / (self.y.1 - self.y.0);
        (MARGIN.0 + across * width, MARGIN.1 + (1. - up) * height)
    }
}

impl Chart<'_> {
    /// The picture; nothing where there is no point.
    pub(crate) fn svg(&self) -> String {
        let points = self.lines.iter().flat_map(|line| &line.points);
        let (x, y): (Vec<f64>, Vec<f64>) = points.copied().filter(finite).unzip();
        let Some((left, right)) = span(x) else { return String::new() };
        let Some((low, high)) = span(y.into_iter().chain(self.y_range.into_iter().flatten()))
        else {
            return String::new();
        };
        let ys = ticks(low, high);
        let axes = Axes { x: (left, right), y: (low.min(ys[0]), high.max(ys[ys.len() - 1])) };

        let (what, over) = (escape(self.y), escape(self.x));
        let mut svg = format!(
            r#"<svg viewBox="0 0 {} {}" role="img" aria-label="{what} over {over}">"#,
            SIZE.0, SIZE.1
        );
        grid(&mut svg, &axes, &ys);
        let (right, bottom) = (SIZE.0 - MARGIN.2, SIZE.1 - MARGIN.3 + 33.);
        let _ = write!(svg, r#"<text x="{right}" y="{bottom}" text-anchor="end">{over}</text>"#);
        let mut legend = String::new();
        for (i, Line { name, points }) in self.lines.iter().enumerate() {
            let at = |(x, y)| {
                let (x, y) = axes.to_svg(x, y);
                format!("{x:.1},{y:.1}")
            };
            let points: Vec<String> = points.iter().copied().filter(finite).map(at).collect();
            let points = points.join(" ");
            let _ = write!(svg, r#"<polyline class="line c{i}" points="{points}"/>"#);
            let _ = write!(legend, r#"<span class="key c{i}">{}</span>"#, escape(name));
        }
        format!("<figure><figcaption>{what}{legend}</figcaption>{svg}</svg></figure>")
    }
}

/// Lines at the numbers `ys`, and numbers below.
fn grid(svg: &mut String, axes: &Axes, ys: &[f64]) {
    let (begin, end) = (MARGIN.0, SIZE.0 - MARGIN.2);
    for &y in ys {
        let (_, at) = axes.to_svg(axes.x.0, y);
        let (left, below, y) = (begin - 6., at + 4., number(y));
        let _ = write!(
            svg,
            r#"<line class="grid" x1="{begin}" x2="{end}" y1="{at:.1}" y2="{at:.1}"/><text x="{left}" y="{below:.1}" text-anchor="end">{y}</text>"#
        );
    }
    let (left, right) = axes.x;
    for x in ticks(left, right).into_iter().filter(|x| (left..=right).contains(x)) {
        let ((at, _), below, x) = (axes.to_svg(x, axes.y.0), SIZE.1 - MARGIN.3 + 16., number(x));
        let _ = write!(svg, r#"<text x="{at:.1}" y="{below}" text-anchor="middle">{x}</text>"#);
    }
}

fn finite((x, y): &(f64, f64)) -> bool {
    x.is_finite() && y.is_finite()
}

/// The least and the largest of `numbers`, if there are any.
fn span(numbers: impl IntoIterator<Item = f64>) -> Option<(f64, f64)> {
    let span = |span: Option<(f64, f64)>, x: f64| {
        Some(span.map_or((x, x), |(low, high)| (low.min(x), high.max(x))))
    };
    numbers.into_iter().fold(None, span)
}

/// Three to eight round numbers that lie around `low` to `high`.
fn ticks(low: f64, high: f64) -> Vec<f64> {
    let span = if high > low { high - low } else { high.abs().max(1.) };
    let raw = span / 5.;
    let power = 10f64.powf(raw.log10().floor());
    let step = [1., 2., 5., 10.].map(|m| m * power).into_iter().find(|step| *step >= raw);
    let step = step.unwrap_or(raw);
    let (first, last) = ((low / step).floor() as i64, (high / step).ceil() as i64);
    (first..=last.max(first + 1)).map(|i| i as f64 * step).collect()
}

/// Short: 1,500 as 1.5k.
fn number(x: f64) -> String {
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
    fn ticks_are_round_and_lie_around_the_numbers() {
        assert_eq!(ticks(0., 1.).len(), 6);
        for (low, high) in [(0.03, 6.9), (-3., 1200.), (5., 5.), (0., 0.)] {
            let ticks = ticks(low, high);
            assert!(ticks[0] <= low && ticks[ticks.len() - 1] >= high, "{low} {high} {ticks:?}");
            assert!((2..=9).contains(&ticks.len()), "{ticks:?}");
        }
    }

    #[test]
    fn a_chart_leaves_out_what_is_no_number_and_needs_a_point() {
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
