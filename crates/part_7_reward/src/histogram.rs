//! 7.4 Scores as a picture: those of chosen and of rejected responses, which a good model draws apart.

use std::path::Path;

use anyhow::{Context, Result, ensure};
use attention::picture::write_png;
use plotters::prelude::*;

use crate::RewardNormalization;
use crate::metrics::PairRewards;

const BINS: usize = 40;
const SIZE: (u32, u32) = (720, 420);
const CHOSEN: RGBColor = RGBColor(0, 114, 178);
const REJECTED: RGBColor = RGBColor(200, 60, 30);

/// Makes the folder that a picture at `path` goes into: what is drawn at the end is not to fail then.
///
/// # Errors
/// When it cannot be made.
pub fn create_parent_folder(path: &Path) -> Result<()> {
    let folder = path.parent().unwrap_or(Path::new(""));
    std::fs::create_dir_all(folder).with_context(|| format!("creating {}", folder.display()))
}

/// Writes a PNG of how the rewards of pairs are spread: their scores, normalised.
///
/// # Errors
/// When a score is no number, or the file cannot be written.
pub fn write(
    path: &Path,
    scores: &[PairRewards],
    normalisation: RewardNormalization,
) -> Result<()> {
    let rewards = |which: usize| -> Vec<f64> {
        scores.iter().map(|pair| normalisation.normalize(pair[which])).collect()
    };
    let sides = [rewards(0), rewards(1)];
    let all = || sides.iter().flatten().copied();
    ensure!(all().all(f64::is_finite), "a score is no number");
    let (low, high) = all().fold((-1f64, 1f64), |(low, high), x| (low.min(x), high.max(x)));
    let width = (high - low) / BINS as f64;
    let counts = sides.map(|rewards| {
        let mut counts = [0; BINS];
        for reward in rewards {
            counts[(((reward - low) / width) as usize).min(BINS - 1)] += 1;
        }
        counts
    });
    let most = counts.iter().flatten().copied().max().unwrap_or(0);
    write_png(path, SIZE, |root| {
        let mut chart = ChartBuilder::on(root)
            .margin(16)
            .x_label_area_size(44)
            .y_label_area_size(56)
            .build_cartesian_2d(low..high, 0..most + 1)?;
        chart
            .configure_mesh()
            .light_line_style(TRANSPARENT)
            .x_desc("reward")
            .y_desc("responses")
            .label_style(("sans-serif", 14))
            .draw()?;
        for (name, color, counts) in
            [("chosen", CHOSEN, counts[0]), ("rejected", REJECTED, counts[1])]
        {
            let bar = |(bin, count): (usize, &i32)| {
                let left = low + width * bin as f64;
                Rectangle::new([(left, 0), (left + width, *count)], color.mix(0.5).filled())
            };
            chart.draw_series(counts.iter().enumerate().map(bar))?.label(name).legend(
                move |(x, y)| {
                    Rectangle::new([(x, y - 5), (x + 14, y + 5)], color.mix(0.5).filled())
                },
            );
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
