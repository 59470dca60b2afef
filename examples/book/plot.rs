//! Drawing of the figures: plotters' charts and shapes, with the colors of the page that shows
//! them.

use std::ops::Range;

use anyhow::Result;
use experiment::picture::load_font;
use plotters::coord::Shift;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

/// Drawing area of a figure.
pub(crate) type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;

/// Color of text and axes.
pub(crate) const INK: RGBColor = RGBColor(0, 0, 0);
/// Colors of the curves: blue, orange, green, purple.
pub(crate) const PALETTE: [RGBColor; 4] = [
    RGBColor(0x00, 0x72, 0xB2),
    RGBColor(0xD5, 0x5E, 0x00),
    RGBColor(0x00, 0x9E, 0x73),
    RGBColor(0xA0, 0x58, 0x9B),
];
/// Names of the palette's colors in the style sheet.
const VARIABLES: [&str; 4] = ["--blue", "--orange", "--green", "--purple"];
/// Colors of a figure that is opened as a file of its own.
const STYLE: &str = "<style>svg{color:#222;--blue:#0072b2;--orange:#d55e00;--green:#009e73;\
    --purple:#a0589b}@media(prefers-color-scheme:dark){svg{color:#ddd;--blue:#56b4e9;\
    --orange:#f0935a;--green:#3cc79c;--purple:#d08fca}\
    text{paint-order:stroke;stroke:#0d1117;stroke-width:3px}}</style>\n";
/// Size of labels, in units of the figure, which is [`WIDTH`] wide.
pub(crate) const FONT_SIZE: i32 = 14;
/// Width of every figure.
pub(crate) const WIDTH: u32 = 600;

/// SVG of [`WIDTH`] by `height` that `draw` draws. Black becomes the color of the text around the
/// figure, and the palette's colors become variables, which are others on a dark page.
///
/// # Errors
/// Those of `draw`.
pub(crate) fn figure(height: u32, draw: impl FnOnce(&Area<'_>) -> Result<()>) -> Result<String> {
    load_font()?; // plotters measures labels even in an SVG
    let mut svg = String::new();
    {
        let root = SVGBackend::with_string(&mut svg, (WIDTH, height)).into_drawing_area();
        draw(&root)?;
        root.present()?;
    }
    svg = svg.replace("\"#000000\"", "\"currentColor\"");
    for (RGBColor(r, g, b), variable) in PALETTE.into_iter().zip(VARIABLES) {
        svg = svg.replace(&format!("\"#{r:02X}{g:02X}{b:02X}\""), &format!("\"var({variable})\""));
    }
    svg = round_opacities(&svg);
    let end_of_tag = svg.find(">\n").map_or(0, |at| at + 2);
    svg.insert_str(end_of_tag, STYLE);
    Ok(svg)
}

/// `svg` with opacities of two digits: the last bits of a number differ between machines.
fn round_opacities(svg: &str) -> String {
    let mut parts = svg.split("opacity=\"");
    let mut rounded = parts.next().unwrap_or_default().to_string();
    for part in parts {
        let (number, rest) = part.split_once('"').unwrap_or((part, ""));
        let opacity: f64 = number.parse().unwrap_or(1.);
        rounded.push_str(&format!("opacity=\"{}\"{rest}", (opacity * 100.).round() / 100.));
    }
    rounded
}

/// Text at `at`, with its middle there, or its start or end.
pub(crate) fn text(area: &Area<'_>, text: &str, at: (i32, i32), anchor: HPos) -> Result<()> {
    colored_text(area, text, at, anchor, INK)
}

/// Text like [`text()`] in a color of its own.
pub(crate) fn colored_text(
    area: &Area<'_>,
    text: &str,
    at: (i32, i32),
    anchor: HPos,
    color: RGBColor,
) -> Result<()> {
    let style =
        ("sans-serif", FONT_SIZE).into_font().color(&color).pos(Pos::new(anchor, VPos::Center));
    area.draw(&Text::new(text.to_string(), at, style))?;
    Ok(())
}

/// Curve, with its name in the legend.
pub(crate) struct Series<'a> {
    /// Name; an empty one is not shown.
    pub(crate) name: &'a str,
    /// Points (x, y).
    pub(crate) points: Vec<(f64, f64)>,
    /// Color, of the palette.
    pub(crate) color: RGBColor,
    /// Line, dashed line, or dots.
    pub(crate) mark: Mark,
}

/// Mark of a curve.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mark {
    Line,
    Dashed,
    Dots,
    LineAndDots,
}

impl<'a> Series<'a> {
    /// Line through `points`, in color `color` of the palette.
    pub(crate) fn line(name: &'a str, color: usize, points: Vec<(f64, f64)>) -> Self {
        Self { name, points, color: PALETTE[color], mark: Mark::Line }
    }

    /// Series with another mark.
    pub(crate) fn marked(self, mark: Mark) -> Self {
        Self { mark, ..self }
    }
}

/// Axes of a chart.
pub(crate) struct Axes<'a> {
    /// Title above the chart.
    pub(crate) title: &'a str,
    /// Label and range of the horizontal axis.
    pub(crate) x: (&'a str, Range<f64>),
    /// Label and range of the vertical axis.
    pub(crate) y: (&'a str, Range<f64>),
    /// Text of a tick of the horizontal axis.
    pub(crate) x_tick: fn(f64) -> String,
}

/// Number as short as it can be written.
pub(crate) fn plain(x: f64) -> String {
    format!("{}", (x * 1e6).round() / 1e6 + 0.) // without a −0
}

/// Chart of `series`, with a legend in lines under the title.
///
/// # Errors
/// When drawing fails.
pub(crate) fn chart(area: &Area<'_>, axes: &Axes<'_>, series: &[Series<'_>]) -> Result<()> {
    let named: Vec<&Series<'_>> = series.iter().filter(|series| !series.name.is_empty()).collect();
    let (width, _height) = area.dim_in_pixel();
    let columns = if width < 400 { 1 } else { 2 };
    let top = 26 + 20 * named.len().div_ceil(columns) as i32;
    let (legend, below) = area.split_vertically(top);
    text(&legend, axes.title, (width as i32 / 2, 12), HPos::Center)?;
    for (i, series) in named.iter().enumerate() {
        let column_width = (width as i32 - 60) / columns as i32;
        let (x, y) = (56 + column_width * (i % columns) as i32, 34 + 20 * (i / columns) as i32);
        draw_key(&legend, series, (x, y))?;
        text(&legend, series.name, (x + 30, y), HPos::Left)?;
    }
    let mut chart = ChartBuilder::on(&below)
        .margin_right(14)
        .margin_bottom(4)
        .margin_top(6)
        .x_label_area_size(42)
        .y_label_area_size(52)
        .build_cartesian_2d(axes.x.1.clone(), axes.y.1.clone())?;
    chart
        .configure_mesh()
        .bold_line_style(INK.mix(0.12))
        .light_line_style(TRANSPARENT)
        .axis_style(INK.mix(0.6))
        .x_labels(if width < 400 { 5 } else { 9 })
        .y_labels(6)
        .x_label_formatter(&|x| (axes.x_tick)(*x))
        .y_label_formatter(&|y| plain(*y))
        .x_desc(axes.x.0)
        .y_desc(axes.y.0)
        .label_style(("sans-serif", FONT_SIZE - 1).into_font().color(&INK))
        .axis_desc_style(("sans-serif", FONT_SIZE - 1).into_font().color(&INK))
        .draw()?;
    for series in series {
        let points = || series.points.iter().copied();
        let style = series.color.stroke_width(2);
        match series.mark {
            Mark::Dashed => {
                chart.draw_series(DashedLineSeries::new(points(), 6, 4, style))?;
            }
            Mark::Line | Mark::LineAndDots => {
                chart.draw_series(LineSeries::new(points(), style))?;
            }
            Mark::Dots => {}
        }
        if matches!(series.mark, Mark::Dots | Mark::LineAndDots) {
            chart.draw_series(points().map(|at| Circle::new(at, 4, series.color.filled())))?;
        }
    }
    Ok(())
}

/// Key of `series` in a legend: a piece of its line.
fn draw_key(area: &Area<'_>, series: &Series<'_>, (x, y): (i32, i32)) -> Result<()> {
    let style = series.color.stroke_width(2);
    let pieces: &[(i32, i32)] = match series.mark {
        Mark::Line | Mark::LineAndDots => &[(0, 22)],
        Mark::Dashed => &[(0, 6), (8, 14), (16, 22)],
        Mark::Dots => &[],
    };
    for (from, to) in pieces {
        area.draw(&PathElement::new([(x + from, y), (x + to, y)], style))?;
    }
    if matches!(series.mark, Mark::Dots | Mark::LineAndDots) {
        area.draw(&Circle::new((x + 11, y), 4, series.color.filled()))?;
    }
    Ok(())
}

/// Matrix with a number in each cell, shaded by [`Cells::shade`].
pub(crate) struct Cells<'a> {
    /// Title above.
    pub(crate) title: &'a str,
    /// Names of the rows, to the left.
    pub(crate) rows: &'a [&'a str],
    /// Names of the columns, below the title.
    pub(crate) columns: &'a [&'a str],
    /// Text of each cell, row by row.
    pub(crate) texts: Vec<Vec<String>>,
    /// Strength of the color of each cell, 0 to 1, row by row.
    pub(crate) shade: Vec<Vec<f64>>,
}

/// Draws `cells` of `size` with the top left corner of the matrix at `at`.
///
/// # Errors
/// When drawing fails.
pub(crate) fn cells(
    area: &Area<'_>,
    cells: &Cells<'_>,
    (left, top): (i32, i32),
    (w, h): (i32, i32),
) -> Result<()> {
    let n_columns = cells.shade[0].len() as i32;
    text(area, cells.title, (left + w * n_columns / 2, top - 34), HPos::Center)?;
    for (j, name) in (0..).zip(cells.columns) {
        text(area, name, (left + w * j + w / 2, top - 12), HPos::Center)?;
    }
    for (i, (shades, texts)) in (0..).zip(cells.shade.iter().zip(&cells.texts)) {
        if let Some(name) = cells.rows.get(i as usize) {
            text(area, name, (left - 8, top + h * i + h / 2), HPos::Right)?;
        }
        for (j, (&shade, label)) in (0..).zip(shades.iter().zip(texts)) {
            let corner = (left + w * j, top + h * i);
            let opposite = (corner.0 + w, corner.1 + h);
            area.draw(&Rectangle::new([corner, opposite], PALETTE[0].mix(0.55 * shade).filled()))?;
            area.draw(&Rectangle::new([corner, opposite], INK.mix(0.25).stroke_width(1)))?;
            text(area, label, (corner.0 + w / 2, corner.1 + h / 2), HPos::Center)?;
        }
    }
    Ok(())
}
