//! Table of a comparison: finished runs, saved after each one, printed and plotted.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use experiment::loss_curve::{self, Curve};
use experiment::statistics::{mean, sample_std};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use tensor_core::json_file;

/// Result of a run.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct RunResult {
    /// Name of the method, which is its row.
    pub method: String,
    /// Seed of the run.
    pub seed: u64,
    /// Exact match of the initial model.
    #[serde(alias = "start")]
    pub exact_match_before: f64,
    /// Exact match of the trained model.
    #[serde(alias = "right")]
    pub exact_match: f64,
    /// Relaxed match of the trained model.
    #[serde(alias = "form_forgiven")]
    pub relaxed_match: f64,
    /// Share of right completions at temperature 1 for the problems of the training, if measured.
    #[serde(default)]
    pub training_accuracy: Option<f64>,
    /// Share of the run's steps after which its mean reward no longer grows, if measured.
    #[serde(default)]
    pub plateau: Option<f64>,
    /// Number of sampled tokens.
    #[serde(alias = "tokens")]
    pub n_tokens: usize,
    /// Processor time of the training, over all threads.
    #[serde(alias = "minutes")]
    pub cpu_minutes: f64,
    /// Exact match on the validation prompts by sampled tokens.
    pub curve: Vec<(usize, f64)>,
}

/// Results of the finished runs, whose settings `S` are the same: others are not comparable.
pub struct ResultsTable<S> {
    path: PathBuf,
    settings: S,
    rows: Vec<RunResult>,
}

impl<S: Display + PartialEq + Serialize + DeserializeOwned> ResultsTable<S> {
    /// Table in `folder`, or a new one.
    ///
    /// # Errors
    /// When the file cannot be read, or its runs have other settings.
    pub fn open(folder: &Path, settings: S) -> Result<Self> {
        std::fs::create_dir_all(folder)
            .with_context(|| format!("creating {}", folder.display()))?;
        let path = folder.join("rows.json");
        let rows = match path.exists() {
            true => {
                let problem = || format!("{} is not a table of this command", path.display());
                let (stored, rows): (S, Vec<RunResult>) =
                    serde_json::from_value(json_file::read(&path)?).with_context(problem)?;
                ensure!(
                    stored == settings,
                    "{} holds runs {stored}, which are not comparable with runs {settings}: \
                     choose another --out",
                    path.display()
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
    pub fn contains_run(&self, method: &str, seed: u64) -> bool {
        self.runs_of(method).iter().any(|row| row.seed == seed)
    }

    /// Adds a run and saves the table.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn add_run(&mut self, row: RunResult) -> Result<()> {
        self.rows.push(row);
        json_file::write(&self.path, &(&self.settings, &self.rows))
    }

    /// Prints the table with the methods in the order of `names`.
    pub fn print(&self, names: &[String]) {
        println!(
            "| method | seeds | exact match before | after | relaxed match after | tokens sampled \
             | CPU minutes |"
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
            let minutes = mean(&over_seeds(|row| row.cpu_minutes));
            // A single seed has no spread.
            let std = if rows.len() > 1 { format!(" ± {std:.3}") } else { String::new() };
            println!(
                "| {name} | {} | {before:.3} | {exact:.3}{std} | {relaxed:.3} | {tokens:.0} | \
                 {minutes:.1} |",
                rows.len(),
            );
        }
    }

    /// Prints the training accuracy of each of the methods `names` and seed, and how many of the
    /// seeds reach `bar`.
    pub fn print_training_accuracy(&self, names: &[&str], bar: f64) {
        println!("| method | seeds at {bar} | training accuracy | greedy | tokens | CPU minutes |");
        println!("| --- | --- | --- | --- | --- | --- |");
        for name in names {
            let rows = self.runs_of(name);
            let over_seeds = |of: fn(&RunResult) -> f64| rows.iter().map(|row| of(row)).collect();
            let accuracy: Vec<f64> = rows.iter().filter_map(|row| row.training_accuracy).collect();
            let reached = accuracy.iter().filter(|accuracy| **accuracy >= bar).count();
            let texts: Vec<String> = accuracy.iter().map(|a| format!("{a:.3}")).collect();
            let greedy: Vec<f64> = over_seeds(|row| row.exact_match);
            let tokens: Vec<f64> = over_seeds(|row| row.n_tokens as f64);
            let minutes: Vec<f64> = over_seeds(|row| row.cpu_minutes);
            println!(
                "| {name} | {reached} of {} | {} | {:.3} | {:.0} | {:.1} |",
                rows.len(),
                texts.join(" "),
                mean(&greedy),
                mean(&tokens),
                mean(&minutes)
            );
        }
    }

    /// Prints after which processor time each of the methods `names` has its plateau, the mean over
    /// those of its seeds for which it was measured.
    pub fn print_plateaus(&self, names: &[String]) {
        println!("| method | seeds | share of the steps to the plateau | CPU minutes to it |");
        println!("| --- | --- | --- | --- |");
        for name in names {
            let rows = self.runs_of(name).into_iter();
            let plateaus: Vec<(f64, f64)> = rows
                .filter_map(|row| row.plateau.map(|share| (share, share * row.cpu_minutes)))
                .collect();
            if !plateaus.is_empty() {
                let (shares, minutes): (Vec<f64>, Vec<f64>) = plateaus.into_iter().unzip();
                println!(
                    "| {name} | {} | {:.2} | {:.2} |",
                    shares.len(),
                    mean(&shares),
                    mean(&minutes)
                );
            }
        }
    }

    /// Plots exact match against sampled tokens, a curve per method, the mean over its seeds.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn write_curves(&self, names: &[String], path: &Path) -> Result<()> {
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

/// Rows over which a mean reward is smoothed.
const WINDOW: usize = 5;
/// Distance from the mean reward of the end that counts as having reached it.
const PLATEAU_TOLERANCE: f64 = 0.01;

/// Share of the rows of a run, whose mean rewards are `rewards`, after which the mean of the last
/// five is within 0.01 of that of the last ten rows of all, or above it. `None` of fewer than ten.
pub fn plateau(rewards: &[f64]) -> Option<f64> {
    let end = rewards.len().checked_sub(2 * WINDOW)?;
    let level = mean(&rewards[end..]) - PLATEAU_TOLERANCE;
    let first = rewards.windows(WINDOW).position(|window| mean(window) >= level)?;
    Some((first + WINDOW) as f64 / rewards.len() as f64)
}
