//! Rows to learn from: the pairs that part 7 reads, or single completions with a label for KTO.

use std::fmt;
use std::path::PathBuf;

use anyhow::{Context, Result, bail, ensure};
use datasets::preference::{FilterCounts, FilteredPreferences};
use datasets::{
    Mixture, Preference, PreferenceColumns, PromptRow, RowKind, SplitRule, SplitSpec, Splits,
    json_rows,
};
use model_io::ChatMessage;
use reward::PreferenceSource;
use reward::flags::{PreferenceFlags, SplitFlags};
use serde_json::Value;

use crate::preference_example::{Label, PreferenceRow, PreferenceType};

/// Training, validation and test rows, and those that were filtered out.
#[derive(Debug)]
pub struct PreferenceRows {
    /// Rows by split.
    pub splits: Splits<PreferenceRow>,
    /// Rule of the split; `None` of built-in data.
    pub rule: Option<SplitRule>,
    /// Rows filtered out.
    pub filtered: FilteredRows,
}

/// Rows of a file that were filtered out, because their completions are equal or empty, say.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct FilteredRows {
    /// Number of rows filtered out, by reason.
    pub counts: FilterCounts,
    /// Number of the first of them in a file, counted from 1; not for a mixture.
    pub first: Option<usize>,
}

impl fmt::Display for FilteredRows {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.counts)?;
        self.first.map_or(Ok(()), |first| write!(f, "; the first is row {first}"))
    }
}

impl PromptRow for PreferenceRow {
    const KIND: RowKind = RowKind::Preference;

    fn prompt(&self) -> &[ChatMessage] {
        &self.prompt
    }
}

impl PreferenceRows {
    /// Rows of `data`, of this `preference_type`. Those of files are split as `spec` says, with the
    /// share of `split` for test; built-in ones are drawn by `seed`, and have splits of their own.
    ///
    /// # Errors
    /// Those of [`load_all`], and when the splits leave nothing to train on.
    pub fn load(
        data: &PreferenceFlags,
        split: &SplitFlags,
        spec: SplitSpec,
        preference_type: PreferenceType,
        seed: u64,
    ) -> Result<Self> {
        if !data.is_built_in() {
            let LoadedRows { rows, filtered } =
                load_all(data, preference_type, spec.mixture_seed())?;
            let rule = split.rule(spec, rows.len());
            return Ok(Self { splits: rule.hold_out(rows)?, rule: Some(rule), filtered });
        }
        let (dataset, rule) = split.load_dataset(data, spec, seed)?;
        let splits = Splits {
            train: rows_of(dataset.train),
            validation: rows_of(dataset.validation),
            test: rows_of(dataset.test),
        };
        Ok(Self { splits, rule, filtered: FilteredRows::default() })
    }
}

/// Rows before they are split, and those that were filtered out.
#[derive(Debug)]
pub struct LoadedRows {
    /// Rows.
    pub rows: Vec<PreferenceRow>,
    /// Rows filtered out.
    pub filtered: FilteredRows,
}

/// All rows of a file, those of a mixture as `seed` draws them, or the test pairs of built-in data;
/// they are of this `preference_type`.
///
/// # Errors
/// When a row is invalid (the error names file and line), no row is left, or unpaired completions
/// are all of one kind.
pub fn load_all(
    data: &PreferenceFlags,
    preference_type: PreferenceType,
    seed: u64,
) -> Result<LoadedRows> {
    load_by(data, preference_type, |mixture| mixture.interleave(seed))
}

/// Rows to evaluate on, as [`load_all`]; those of a mixture one source after the other.
///
/// # Errors
/// Those of [`load_all`].
pub fn load_eval_rows(
    data: &PreferenceFlags,
    preference_type: PreferenceType,
) -> Result<Vec<PreferenceRow>> {
    Ok(load_by(data, preference_type, Mixture::concat)?.rows)
}

/// Rows of `data`; `mix` makes those of a mixture one list.
fn load_by(
    data: &PreferenceFlags,
    preference_type: PreferenceType,
    mix: impl FnOnce(Mixture<Vec<PreferenceRow>>) -> Vec<PreferenceRow>,
) -> Result<LoadedRows> {
    let (source, columns) = data.open_source()?;
    let LoadedRows { rows, filtered } = match &source {
        PreferenceSource::Files(paths) => read_files(paths, &columns, preference_type)?,
        PreferenceSource::Mixture(mixture) => {
            let mut filtered = FilteredRows::default();
            let mixture = mixture.map(|source| {
                let PreferenceSource::Files(paths) = source else {
                    bail!("only files can be mixed");
                };
                let file = read_files(paths, &columns, preference_type)?;
                filtered.counts += file.filtered.counts;
                Ok(file.rows)
            })?;
            LoadedRows { rows: mix(mixture), filtered }
        }
        PreferenceSource::Arithmetic | PreferenceSource::Politeness => {
            let pairs = source.load_eval_preferences(&columns)?.usable;
            return Ok(LoadedRows { rows: rows_of(pairs), filtered: FilteredRows::default() });
        }
    };
    ensure!(!rows.is_empty(), "{} has no usable pair: {filtered}", data.data);
    if preference_type == PreferenceType::Unpaired {
        ensure_both_labels(&rows).with_context(|| data.data.clone())?;
    }
    Ok(LoadedRows { rows, filtered })
}

fn read_files(
    paths: &[PathBuf],
    columns: &PreferenceColumns,
    preference_type: PreferenceType,
) -> Result<LoadedRows> {
    let (mut pairs, mut n_rows, mut first) = (FilteredPreferences::default(), 0, None);
    let labeled = json_rows::read_parsed(paths, |row| {
        n_rows += 1;
        let labeled = read_row(row, columns, preference_type, &mut pairs)?;
        first = first.or((pairs.filter_counts.total() > 0).then_some(n_rows));
        Ok(labeled)
    })?;
    let mut rows: Vec<PreferenceRow> = labeled.into_iter().flatten().collect();
    rows.extend(rows_of(pairs.usable));
    let filtered = FilteredRows { counts: pairs.filter_counts, first };
    Ok(LoadedRows { rows, filtered })
}

fn rows_of(pairs: Vec<Preference>) -> Vec<PreferenceRow> {
    pairs.into_iter().map(PreferenceRow::from).collect()
}

/// Row of a file: a pair, which is appended to `pairs`, or a completion with a label.
fn read_row(
    row: &Value,
    names: &PreferenceColumns,
    preference_type: PreferenceType,
    pairs: &mut FilteredPreferences,
) -> Result<Option<PreferenceRow>> {
    let labeled = names.read_labeled_row(row, pairs)?;
    ensure!(
        labeled.is_none() || preference_type == PreferenceType::Unpaired,
        "rows of prompt, completion and label are for --loss kto"
    );
    Ok(labeled.map(PreferenceRow::from))
}

/// Checks that `rows` have desirable and undesirable completions.
fn ensure_both_labels(rows: &[PreferenceRow]) -> Result<()> {
    for (label, name) in [(Label::Chosen, "true"), (Label::Rejected, "false")] {
        let mut labels = rows.iter().flat_map(|row| &row.completions).map(|(label, _)| *label);
        ensure!(
            labels.any(|other| other == label),
            "no completion has the label {name}: KTO learns from completions of both kinds"
        );
    }
    Ok(())
}
