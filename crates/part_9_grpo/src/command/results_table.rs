//! The table of methods: the runs that have ended, on disk after each, and what is shown of them.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use serde::{Deserialize, Serialize};
use tiny_gpt::json_file;
use tiny_gpt::loss_curve::{self, Curve};

/// What all runs of a table have in common; runs of others do not compare.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct TableSettings {
    pub(super) model: String,
    /// The fingerprint of its weights.
    #[serde(alias = "start")]
    pub(super) base_sha256: String,
    pub(super) tokens: usize,
    pub(super) lr: f64,
}

/// What came of a run.
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

/// The runs that have ended.
pub(super) struct ResultsTable {
    path: PathBuf,
    settings: TableSettings,
    rows: Vec<RunResult>,
}

impl ResultsTable {
    /// The table in `folder`, or a new one.
    ///
    /// # Errors
    /// When it cannot be read, or its runs had other settings.
    pub(super) fn open(folder: &Path, settings: TableSettings) -> Result<Self> {
        std::fs::create_dir_all(folder)
            .with_context(|| format!("creating {}", folder.display()))?;
        let path = folder.join("rows.json");
        let rows = match path.exists() {
            true => {
                let named = || format!("{} is no table of this command", path.display());
                let (of, rows): (TableSettings, Vec<RunResult>) =
                    serde_json::from_value(json_file::read(&path)?).with_context(named)?;
                ensure!(
                    of == settings,
                    "{} holds runs from {} ({}) with {} tokens at a rate of {}, which do not compare: choose another --out",
                    path.display(),
                    of.model,
                    &of.base_sha256[..of.base_sha256.len().min(8)],
                    of.tokens,
                    of.lr
                );
                rows
            }
            false => Vec::new(),
        };
        Ok(Self { path, settings, rows })
    }

    /// Whether this run has ended.
    pub(super) fn contains_run(&self, method: &str, seed: u64) -> bool {
        self.rows.iter().any(|row| row.method == method && row.seed == seed)
    }

    /// Adds a run; it is on the disk when this returns.
    pub(super) fn add_run(&mut self, row: RunResult) -> Result<()> {
        self.rows.push(row);
        json_file::write(&self.path, &(&self.settings, &self.rows))
    }

    /// Prints it, the methods in the order of `names`.
    pub(super) fn print(&self, names: &[&str]) {
        println!(
            "| method | seeds | held out, before | after | form forgiven, after | tokens drawn | minutes |"
        );
        println!("| --- | --- | --- | --- | --- | --- | --- |");
        for name in names {
            let rows: Vec<&RunResult> =
                self.rows.iter().filter(|row| row.method == *name).collect();
            let all = |of: fn(&RunResult) -> f64| {
                mean_and_std(&rows.iter().map(|row| of(row)).collect::<Vec<_>>())
            };
            let (start, (right, std)) =
                (all(|row| row.exact_match_before).0, all(|row| row.exact_match));
            let (forgiven, tokens, minutes) = (
                all(|row| row.relaxed_match).0,
                all(|row| row.n_tokens as f64).0,
                all(|row| row.minutes).0,
            );
            println!(
                "| {name} | {} | {start:.3} | {right:.3}{} | {forgiven:.3} | {tokens:.0} | {minutes:.1} |",
                rows.len(),
                if rows.len() > 1 { format!(" ± {std:.3}") } else { String::new() } // one says nothing of the others
            );
        }
    }

    /// Draws how each method rises, in the mean over its seeds, against the tokens drawn.
    pub(super) fn write_curves(&self, names: &[&str], path: &Path) -> Result<()> {
        let mut curves = Vec::new();
        for name in names {
            let rows: Vec<&RunResult> =
                self.rows.iter().filter(|row| row.method == *name).collect();
            let mut points: BTreeMap<usize, Vec<(usize, f64)>> = BTreeMap::new();
            for row in &rows {
                for (look, point) in row.curve.iter().enumerate() {
                    points.entry(look).or_default().push(*point);
                }
            }
            let mut curve = Curve::new(*name);
            for points in points.values() {
                let n = points.len();
                let tokens = points.iter().map(|(tokens, _)| tokens).sum::<usize>() / n;
                curve.push(tokens, points.iter().map(|(_, right)| right).sum::<f64>() / n as f64);
            }
            curves.push(curve);
        }
        let curves: Vec<&Curve> = curves.iter().collect();
        loss_curve::write_svg_with_axes(path, &curves, ["tokens drawn", "right"])?;
        println!("the curves are in {}", path.display());
        Ok(())
    }
}

/// Mean and sample standard deviation.
fn mean_and_std(values: &[f64]) -> (f64, f64) {
    let n = values.len() as f64;
    let mean = values.iter().sum::<f64>() / n;
    let variance =
        values.iter().map(|value| (value - mean).powi(2)).sum::<f64>() / (n - 1.).max(1.);
    (mean, variance.sqrt())
}
