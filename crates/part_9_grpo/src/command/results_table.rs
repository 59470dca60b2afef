//! Results table of `part_9 table`: finished runs, saved after each one, printed and plotted.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use experiment::loss_curve::{self, Curve};
use experiment::statistics::{mean, sample_std};
use serde::{Deserialize, Serialize};
use tensor_core::json_file;

/// Settings that all runs of a table share; runs with other settings are not comparable.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct TableSettings {
    pub(super) model: String,
    /// Hash of the model's weights.
    #[serde(alias = "start")]
    pub(super) base_sha256: String,
    pub(super) tokens: usize,
    pub(super) lr: f64,
}

/// Result of a run.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct RunResult {
    pub(super) method: String,
    pub(super) seed: u64,
    #[serde(alias = "start")]
    pub(super) exact_match_before: f64,
    #[serde(alias = "right")]
    pub(super) exact_match: f64,
    #[serde(alias = "form_forgiven")]
    pub(super) relaxed_match: f64,
    #[serde(alias = "tokens")]
    pub(super) n_tokens: usize,
    pub(super) minutes: f64,
    pub(super) curve: Vec<(usize, f64)>,
}

/// Results of the finished runs.
pub(super) struct ResultsTable {
    path: PathBuf,
    settings: TableSettings,
    rows: Vec<RunResult>,
}

impl ResultsTable {
    /// Table in `folder`, or a new one.
    ///
    /// # Errors
    /// When the file cannot be read, or its runs have other settings.
    pub(super) fn open(folder: &Path, settings: TableSettings) -> Result<Self> {
        std::fs::create_dir_all(folder)
            .with_context(|| format!("creating {}", folder.display()))?;
        let path = folder.join("rows.json");
        let rows = match path.exists() {
            true => {
                let problem = || format!("{} is not a table of this command", path.display());
                let (stored, rows): (TableSettings, Vec<RunResult>) =
                    serde_json::from_value(json_file::read(&path)?).with_context(problem)?;
                ensure!(
                    stored == settings,
                    "{} holds runs from {} ({}) with {} tokens and learning rate {}, which are not \
                     comparable: choose another --out",
                    path.display(),
                    stored.model,
                    &stored.base_sha256[..stored.base_sha256.len().min(8)],
                    stored.tokens,
                    stored.lr
                );
                rows
            }
            false => Vec::new(),
        };
        Ok(Self { path, settings, rows })
    }

    /// Runs of `method`, one for each seed.
    fn runs_of(&self, method: &str) -> Vec<&RunResult> {
        self.rows.iter().filter(|row| row.method == method).collect()
    }

    /// True if the table has the run of `method` with `seed`.
    pub(super) fn contains_run(&self, method: &str, seed: u64) -> bool {
        self.runs_of(method).iter().any(|row| row.seed == seed)
    }

    /// Adds a run and saves the table.
    pub(super) fn add_run(&mut self, row: RunResult) -> Result<()> {
        self.rows.push(row);
        json_file::write(&self.path, &(&self.settings, &self.rows))
    }

    /// Prints the table with the methods in the order of `names`.
    pub(super) fn print(&self, names: &[String]) {
        println!(
            "| method | seeds | exact match before | after | relaxed match after | tokens sampled \
             | minutes |"
        );
        println!("| --- | --- | --- | --- | --- | --- | --- |");
        for name in names {
            let rows = self.runs_of(name);
            let over_seeds =
                |of: fn(&RunResult) -> f64| rows.iter().map(|row| of(row)).collect::<Vec<f64>>();
            let before = mean(&over_seeds(|row| row.exact_match_before));
            let exact_of_seeds = over_seeds(|row| row.exact_match);
            let (exact, std) = (mean(&exact_of_seeds), sample_std(&exact_of_seeds));
            let relaxed = mean(&over_seeds(|row| row.relaxed_match));
            let tokens = mean(&over_seeds(|row| row.n_tokens as f64));
            let minutes = mean(&over_seeds(|row| row.minutes));
            // A single seed has no spread.
            let std = if rows.len() > 1 { format!(" ± {std:.3}") } else { String::new() };
            println!(
                "| {name} | {} | {before:.3} | {exact:.3}{std} | {relaxed:.3} | {tokens:.0} | \
                 {minutes:.1} |",
                rows.len(),
            );
        }
    }

    /// Plots exact match against sampled tokens, a curve per method, the mean over its seeds.
    pub(super) fn write_curves(&self, names: &[String], path: &Path) -> Result<()> {
        let mut curves = Vec::new();
        for name in names {
            let mut points: BTreeMap<usize, Vec<(usize, f64)>> = BTreeMap::new();
            for row in self.runs_of(name) {
                for (i, point) in row.curve.iter().enumerate() {
                    points.entry(i).or_default().push(*point);
                }
            }
            let mut curve = Curve::new(name.as_str());
            for points in points.values() {
                let n = points.len();
                let tokens = points.iter().map(|(tokens, _)| tokens).sum::<usize>() / n;
                curve.push(
                    tokens,
                    points.iter().map(|(_, exact_match)| exact_match).sum::<f64>() / n as f64,
                );
            }
            curves.push(curve);
        }
        let curves: Vec<&Curve> = curves.iter().collect();
        loss_curve::write_svg_with_axes(path, &curves, ["tokens sampled", "exact match"])?;
        println!("the curves are in {}", path.display());
        Ok(())
    }
}
