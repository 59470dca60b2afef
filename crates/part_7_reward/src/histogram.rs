//! 7.4 Histogram of the normalized rewards of chosen and of rejected completions. A good model
//! separates the two.

use std::path::Path;

use anyhow::{Context, Result, ensure};
use experiment::picture::write_png;
use plotters::prelude::*;

use crate::RewardNormalization;
use crate::metrics::PairRewards;

const BINS: usize = 40;
const SIZE: (u32, u32) = (720, 420);
const CHOSEN: RGBColor = RGBColor(0, 114, 178);
const REJECTED: RGBColor = RGBColor(200, 60, 30);

/// Creates the folder of the picture at `path` before the evaluation, so that writing the picture
/// afterwards does not fail for lack of it.
///
/// # Errors
/// When the folder cannot be created.
pub fn create_parent_folder(path: &Path) -> Result<()> {
    let folder = path.parent().unwrap_or(Path::new(""));
    std::fs::create_dir_all(folder).with_context(|| format!("creating {}", folder.display()))
}

/// Writes a PNG histogram of the rewards of `pairs`, normalized.
///
/// # Errors
/// When a reward is not finite, or the file cannot be written.
pub fn write(path: &Path, pairs: &[PairRewards], normalization: RewardNormalization) -> Result<()> {
    let normalized = |index: usize| -> Vec<f64> {
        pairs.iter().map(|pair| normalization.normalize(pair[index])).collect()
    };
    let chosen_and_rejected = [normalized(0), normalized(1)];
    let all = || chosen_and_rejected.iter().flatten().copied();
    ensure!(all().all(f64::is_finite), "cannot draw the rewards: one of them is not finite");
    let (low, high) = all().fold((-1f64, 1f64), |(low, high), x| (low.min(x), high.max(x)));
    let bin_width = (high - low) / BINS as f64;
    let counts = chosen_and_rejected.map(|rewards| {
        let mut counts = [0; BINS];
        for reward in rewards {
            counts[(((reward - low) / bin_width) as usize).min(BINS - 1)] += 1;
        }
        counts
    });
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
            .x_desc("reward")
            .y_desc("completions")
            .label_style(("sans-serif", 14))
            .draw()?;
        for (name, color, counts) in
            [("chosen", CHOSEN, counts[0]), ("rejected", REJECTED, counts[1])]
        {
            let bar = |(bin, count): (usize, &i32)| {
                let left = low + bin_width * bin as f64;
                Rectangle::new([(left, 0), (left + bin_width, *count)], color.mix(0.5).filled())
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
