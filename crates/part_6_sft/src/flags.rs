//! Flags of the data, shared with later parts.

use std::num::NonZeroUsize;
use std::path::Path;

use anyhow::{Result, bail};
use clap::Args;
use datasets::arithmetic_questions::DemonstrationStyle;
use datasets::held_out::is_learned_by;
use datasets::{
    AssistantTurns, DatasetFlags, Example, ExampleColumns, HeldOutRows, Mixture, SplitRule,
    SplitSpec, Splits,
};
use experiment::model_runs::settings_of_runs;
use experiment::number::fraction;
use experiment::program::{as_usage_error, ensure_usage};
use experiment::settings::SettingsFlags;
use serde::Serialize;
use serde_json::Value;

use crate::{MappedSource, SftSource};

/// Checks that neither columns nor a part are chosen of the built-in data `name`.
///
/// # Errors
/// A usage error if one is.
pub fn ensure_whole(name: &str, columns: Option<&str>, part: &DatasetFlags) -> Result<()> {
    ensure_usage(columns.is_none(), format!("--columns is for files; --data {name} is built in"))?;
    as_usage_error(part.ensure_unused(name))
}

/// Checks that no share of the rows is given for `--validation` or `--test` of generated data,
/// which have splits of their own. `settings` that are read may have the default of `--validation`:
/// runs of earlier versions recorded it.
///
/// # Errors
/// A usage error if one is.
pub fn ensure_shares_of_file(
    is_file: bool,
    validation: Option<f64>,
    test: Option<f64>,
    settings: &SettingsFlags,
) -> Result<()> {
    let is_recorded = settings.are_read() && validation == Some(SplitRule::VALIDATION_SHARE);
    let validation = validation.filter(|_| !is_recorded);
    for (flag, share) in [("--validation", validation), ("--test", test)] {
        let message = format!("{flag} is for files; generated data have splits of their own");
        ensure_usage(is_file || share.is_none(), message)?;
    }
    Ok(())
}

/// Source of the rows `name`: what `open` gives, or, if it is a mixture, what `mixture` makes of
/// its sources.
///
/// # Errors
/// Those of `open`, and of a malformed mixture.
pub fn open_files<S>(
    name: &str,
    part: &DatasetFlags,
    open: impl Fn(&str) -> Result<S>,
    mixture: impl FnOnce(Mixture<S>) -> S,
) -> Result<S> {
    match part.open_mixture(name, &open)? {
        Some(sources) => Ok(mixture(sources)),
        None => open(name),
    }
}

/// Data set of a training run or an evaluation.
#[derive(Debug, Clone, Serialize, Args)]
#[command(next_help_heading = "Data")]
pub struct DataFlags {
    /// arithmetic, everyday, a file (.json or .jsonl, .gz too, or .parquet), a folder of them,
    /// owner/name or owner/name:file.jsonl on the Hub, or a mixture: a.jsonl=0.7,b.jsonl=0.3
    #[arg(
        long, visible_aliases = ["dataset", "dataset-name"], value_name = "DATA",
        default_value = "arithmetic"
    )]
    pub data: String,
    /// Configuration and split.
    #[command(flatten)]
    pub dataset: DatasetFlags,
    /// Column map: prompt=A,completion=B, messages=A, text=A or instruction=A,input=B,output=C
    /// [default: detect those of OpenAI, ShareGPT, alpaca, Dolly, TRL, GSM8K, or `text`]
    #[arg(long, value_name = "MAP")]
    pub columns: Option<String>,
}

impl DataFlags {
    /// Data source, and its column map if one is given.
    ///
    /// # Errors
    /// When `--columns` is malformed or given for built-in data, or the data cannot be downloaded.
    pub fn open_source(&self) -> Result<MappedSource> {
        let columns =
            as_usage_error(self.columns.as_deref().map(ExampleColumns::parse).transpose())?;
        let open = |name: &str| self.open(name);
        let source = match SftSource::built_in(&self.data) {
            Some(source) => {
                ensure_whole(&self.data, self.columns.as_deref(), &self.dataset)?;
                source
            }
            None => open_files(&self.data, &self.dataset, open, SftSource::Mixture)?,
        };
        Ok(MappedSource { source, columns })
    }

    /// Source of rows called `name`.
    fn open(&self, name: &str) -> Result<SftSource> {
        match SftSource::built_in(name) {
            Some(SftSource::Arithmetic) => bail!("arithmetic has no rows to mix: it is generated"),
            Some(built_in) => Ok(built_in),
            None => Ok(SftSource::Files(self.dataset.locate(name)?)),
        }
    }

    /// Examples of `source` to evaluate `model` on: held-out sums, or a file's rows. If a run that
    /// led to `model` was trained on some of these rows, only those that it held out, and a message
    /// says so.
    ///
    /// # Errors
    /// When the data or the settings of a run cannot be read, or no row is left.
    pub fn load_eval_examples(
        &self,
        model: &str,
        MappedSource { source, columns }: &MappedSource,
    ) -> Result<Vec<Example>> {
        let load = || source.load_eval_examples(columns.as_ref());
        if *source == SftSource::Arithmetic {
            return load();
        }
        let runs = settings_of_runs(Path::new(model))?;
        let load_of_run =
            |run: &Value, seed: u64| Self::load_rows_of_run(run, columns.as_ref(), seed);
        let requested = (&self.dataset, self.data.as_str());
        let mut held_out = HeldOutRows::new(&runs, requested, load_of_run, load)?;
        held_out.print();
        let latest = runs.iter().find(|run| is_learned_by(run, requested.0, requested.1));
        if latest.is_some_and(|run| run["assistant_turns"] != "all") {
            learn_last_turns(held_out.rows.iter_mut());
        }
        Ok(held_out.rows)
    }

    /// Rows of the run with these `settings`, with `columns`, else those of the run; of a mixture
    /// those that `seed` draws.
    ///
    /// # Errors
    /// When they cannot be read.
    pub(crate) fn load_rows_of_run(
        settings: &Value,
        columns: Option<&ExampleColumns>,
        seed: u64,
    ) -> Result<Vec<Example>> {
        let data = settings["data"].as_str().unwrap_or_default().to_string();
        let flags = Self { data, dataset: DatasetFlags::of_run(settings), columns: None };
        let own = settings["columns"].as_str();
        let own = own.and_then(|columns| ExampleColumns::parse(columns).ok());
        flags.open_source()?.source.load_rows(columns.or(own.as_ref()), seed)
    }

    /// Default maximum completion length in tokens: enough for a number, or for a few sentences.
    pub fn default_max_new_tokens(&self) -> usize {
        if self.data == "arithmetic" { 8 } else { 64 }
    }
}

/// Size of the training set and of the validation split.
#[derive(Debug, Clone, Copy, Serialize, Args)]
#[command(next_help_heading = "Data")]
pub struct ExampleFlags {
    /// Number of arithmetic demonstrations
    #[arg(long, value_name = "N", default_value = "200000")]
    pub examples: NonZeroUsize,
    /// Share of a file's rows in the validation split [default: 0.1]
    #[arg(long, value_name = "P", value_parser = fraction)]
    pub validation: Option<f64>,
    /// Turns of the assistant in the loss
    #[arg(long, value_enum, default_value_t = AssistantTurns::All)]
    pub assistant_turns: AssistantTurns,
}

impl ExampleFlags {
    /// Number of demonstrations without `--examples`.
    const DEFAULT_EXAMPLES: usize = 200_000;

    /// Checks that `--examples` is given for the generated task alone: the rows of other `data` are
    /// all read. The settings of a file or of a resumed run may hold it.
    ///
    /// # Errors
    /// A usage error if it is given for rows.
    pub fn check(&self, data: &str, settings: &SettingsFlags) -> Result<()> {
        let is_given = self.examples.get() != Self::DEFAULT_EXAMPLES && !settings.are_read();
        ensure_usage(
            !is_given || data == "arithmetic",
            "--examples is for arithmetic, which is generated; of other data, all rows are read",
        )
    }

    /// Split of a file's rows, by `seed`.
    pub fn split_spec(&self, seed: u64) -> SplitSpec {
        SplitSpec::Shares { validation: self.validation_share(), seed }
    }

    fn validation_share(&self) -> f64 {
        self.validation.unwrap_or(SplitRule::VALIDATION_SHARE)
    }

    /// Training and validation examples, the rows of a file split as `split_spec` says, and the
    /// rule of their split. The arithmetic task has demonstrations drawn by `seed`, in the given
    /// `style`, and splits of its own, without a rule.
    ///
    /// # Errors
    /// Those of [`SftSource::load_dataset`].
    pub fn load_dataset(
        &self,
        MappedSource { source, columns }: &MappedSource,
        style: DemonstrationStyle,
        split_spec: SplitSpec,
        seed: u64,
    ) -> Result<(Splits<Example>, Option<SplitRule>)> {
        let (n, columns) = (self.examples.get(), columns.as_ref());
        let (mut splits, rule) = if *source == SftSource::Arithmetic {
            (source.load_dataset(columns, n, style, self.validation_share(), seed)?, None)
        } else {
            let rows = source.load_rows(columns, split_spec.mixture_seed())?;
            let rule = split_spec.rule(rows.len());
            (rule.hold_out(rows)?, Some(rule))
        };
        if self.assistant_turns == AssistantTurns::Last {
            learn_last_turns(splits.train.iter_mut().chain(&mut splits.validation));
        }
        Ok((splits, rule))
    }
}

fn learn_last_turns<'a>(examples: impl Iterator<Item = &'a mut Example>) {
    examples.for_each(|example| example.assistant_turns = AssistantTurns::Last);
}
