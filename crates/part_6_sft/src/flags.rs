//! Flags of the data, shared with later parts.

use std::num::NonZeroUsize;
use std::path::Path;

use anyhow::{Result, bail};
use clap::Args;
use datasets::arithmetic_questions::DemonstrationStyle;
use datasets::{AssistantTurns, DatasetFlags, Example, ExampleColumns, Splits};
use experiment::RunFolder;
use experiment::number::fraction;
use experiment::program::{as_usage_error, ensure_usage};
use serde::Serialize;
use serde_json::Value;

use crate::{MappedSource, SftSource};

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
        let built_in = SftSource::built_in(&self.data);
        ensure_usage(
            columns.is_none() || built_in.is_none(),
            format!("--columns is for files; --data {} is built in", self.data),
        )?;
        if built_in.is_some() {
            as_usage_error(self.dataset.ensure_unused(&self.data))?;
        }
        let source = match built_in {
            Some(source) => source,
            None => match self.dataset.open_mixture(&self.data, |name| self.open(name))? {
                Some(mixture) => SftSource::Mixture(mixture),
                None => self.open(&self.data)?,
            },
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

    /// Examples of `source` to evaluate `model` on: held-out sums, or a file's rows. If `model` is
    /// a run folder, or a model in one, and the run was trained on this data, only the rows that it
    /// held out, and a message says so.
    ///
    /// # Errors
    /// When the data or the settings of the run cannot be read.
    pub fn load_eval_examples(
        &self,
        model: &str,
        MappedSource { source, columns }: &MappedSource,
    ) -> Result<Vec<Example>> {
        let run = RunFolder::read_settings(run_folder(model))?.filter(|run| {
            *source != SftSource::Arithmetic && self.dataset.is_data_of(run, &self.data)
        });
        let last_turns = run.as_ref().is_some_and(|run| run["assistant_turns"] != "all");
        let seed_of = |run: &Value| run["split_seed"].as_u64().or(run["seed"].as_u64());
        let split = run.and_then(|run| run["validation"].as_f64().zip(seed_of(&run)));
        let Some((validation, seed)) = split else {
            return source.load_eval_examples(columns.as_ref());
        };
        println!("the validation rows of the run's data; it was trained on the others");
        let style = DemonstrationStyle::Clean;
        let splits = source.load_dataset(columns.as_ref(), 1, style, validation, seed)?;
        let mut examples = splits.validation;
        if last_turns {
            learn_last_turns(examples.iter_mut());
        }
        Ok(examples)
    }

    /// Default maximum completion length in tokens: enough for a number, or for a few sentences.
    pub fn default_max_new_tokens(&self) -> usize {
        if self.data == "arithmetic" { 8 } else { 64 }
    }
}

/// Folder of the run that `model` is in, or `model` itself.
pub(crate) fn run_folder(model: &str) -> &Path {
    let folder = Path::new(model);
    let in_run = ["model", "adapter"].iter().any(|name| folder.ends_with(name));
    folder.parent().filter(|_| in_run).unwrap_or(folder)
}

/// Size of the training set and of the validation split.
#[derive(Debug, Clone, Copy, Serialize, Args)]
#[command(next_help_heading = "Data")]
pub struct ExampleFlags {
    /// Number of arithmetic demonstrations
    #[arg(long, value_name = "N", default_value = "200000")]
    pub examples: NonZeroUsize,
    /// Share of a file's rows in the validation split
    #[arg(long, value_name = "P", default_value_t = 0.1, value_parser = fraction)]
    pub validation: f64,
    /// Turns of the assistant in the loss
    #[arg(long, value_enum, default_value_t = AssistantTurns::All)]
    pub assistant_turns: AssistantTurns,
}

impl ExampleFlags {
    /// Training and validation examples; arithmetic demonstrations have the given `style`.
    ///
    /// # Errors
    /// Those of [`SftSource::load_dataset`].
    pub fn load_dataset(
        &self,
        MappedSource { source, columns }: &MappedSource,
        style: DemonstrationStyle,
        seed: u64,
    ) -> Result<Splits<Example>> {
        let n = self.examples.get();
        let mut splits = source.load_dataset(columns.as_ref(), n, style, self.validation, seed)?;
        if self.assistant_turns == AssistantTurns::Last {
            learn_last_turns(splits.train.iter_mut().chain(&mut splits.validation));
        }
        Ok(splits)
    }
}

fn learn_last_turns<'a>(examples: impl Iterator<Item = &'a mut Example>) {
    examples.for_each(|example| example.assistant_turns = AssistantTurns::Last);
}
