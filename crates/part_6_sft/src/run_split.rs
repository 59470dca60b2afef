//! Split of the fine-tuning run that a model comes from. A later run on the same data, with
//! reinforcement learning, holds out the same rows: of rows that the model has learned, a
//! validation would measure what it remembers.

use std::collections::HashSet;
use std::path::PathBuf;

use anyhow::{Context, Result};
use datasets::arithmetic_questions::DemonstrationStyle;
use datasets::{DatasetFlags, Example, ExampleColumns};
use experiment::RunFolder;
use model_io::ChatMessage;
use serde_json::Value;

use crate::flags::{DataFlags, run_folder};
use crate::{MappedSource, SftSource};

/// Rule by which the rows of a file are split into training and validation rows.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct SplitRule {
    /// Share of the rows in the validation split.
    pub validation: f64,
    /// Seed of the shuffle before the split.
    pub seed: u64,
}

impl SplitRule {
    /// Rule that the `settings` of a run name by `split_seed`; `None` if it has the default of its
    /// part.
    pub fn of_settings(settings: &Value) -> Option<Self> {
        let (validation, seed) = (&settings["validation"], &settings["split_seed"]);
        Some(Self { validation: validation.as_f64()?, seed: seed.as_u64()? })
    }

    /// Rule of a run of part 6, or of another one on its examples.
    fn of_examples(settings: &Value) -> Option<Self> {
        settings["examples"].as_u64()?; // a setting of no other run
        let by_seed = || {
            let (validation, seed) = (&settings["validation"], &settings["seed"]);
            Some(Self { validation: validation.as_f64()?, seed: seed.as_u64()? })
        };
        Self::of_settings(settings).or_else(by_seed)
    }

    /// Adds the rule to the `settings` of a run.
    pub fn store_in(self, settings: &mut Value) {
        settings["validation"] = self.validation.into();
        settings["split_seed"] = self.seed.into();
    }
}

/// Split of the fine-tuning run that a model comes from.
#[derive(Debug)]
pub struct RunSplit {
    /// Folder of the run.
    pub run: PathBuf,
    /// Rule of the split.
    pub rule: SplitRule,
    /// Prompts of the training rows.
    pub(crate) learned: HashSet<Vec<ChatMessage>>,
}

/// Largest number of runs that are followed back from a model.
const MAX_RUNS: usize = 16;

impl RunSplit {
    /// Split of the first fine-tuning run on `data`, a part of which `dataset` selects, among those
    /// that led to `model`. `None` without one, and for generated data.
    ///
    /// # Errors
    /// When the settings of a run, or the data, cannot be read.
    pub fn find(model: Option<&str>, data: &str, dataset: &DatasetFlags) -> Result<Option<Self>> {
        let is_generated = SftSource::built_in(data) == Some(SftSource::Arithmetic);
        let Some(model) = model.filter(|_| !is_generated) else { return Ok(None) };
        let Some((run, settings)) = first_run(model, data, dataset)? else { return Ok(None) };
        let Some(rule) = SplitRule::of_examples(&settings) else { return Ok(None) };
        let columns = settings["columns"].as_str().map(str::to_string);
        let flags = DataFlags { data: data.to_string(), dataset: dataset.clone(), columns };
        let learned = learned_prompts(&flags, rule)
            .with_context(|| format!("reading the training rows of the run {}", run.display()))?;
        Ok(Some(Self { run, rule, learned }))
    }

    /// Number of `examples` whose prompt the run has learned to answer.
    pub fn n_learned(&self, examples: &[Example]) -> usize {
        examples.iter().filter(|example| self.learned.contains(&example.conversation())).count()
    }

    /// Warns if the run has learned some of the `validation` rows of a run that starts from its
    /// model.
    pub fn warn_of_learned(&self, validation: &[Example]) {
        let (run, n_learned) = (self.run.display(), self.n_learned(validation));
        if n_learned > 0 {
            eprintln!(
                "warning: {run}, from which the model comes, was trained on {n_learned} of the {} \
                 validation rows: how well it does on them says little about others",
                validation.len()
            );
        }
    }
}

/// Rule of the split of a run: that of its flags if they give one, else, of a new run, that of the
/// fine-tuning run that its model comes from, which is printed; `None` for the default of its part.
pub fn rule_of_run(
    given: Option<SplitRule>,
    is_resumed: bool,
    sft_split: Option<&RunSplit>,
) -> Option<SplitRule> {
    if given.is_some() || is_resumed {
        return given; // a run from before it stored its rule had the default
    }
    let RunSplit { run, rule, .. } = sft_split?;
    println!("held out for validation are the rows that {} held out", run.display());
    Some(*rule)
}

/// First run on `data` among those that led to `model`, and its settings.
fn first_run(model: &str, data: &str, dataset: &DatasetFlags) -> Result<Option<(PathBuf, Value)>> {
    let (mut model, mut first) = (model.to_string(), None);
    for _ in 0..MAX_RUNS {
        let folder = run_folder(&model).to_path_buf();
        let Some(settings) = RunFolder::read_settings(&folder)? else { break };
        let earlier = settings["model"].as_str().map(str::to_string);
        if SplitRule::of_examples(&settings).is_some() && dataset.is_data_of(&settings, data) {
            first = Some((folder, settings));
        }
        let Some(earlier) = earlier else { break };
        model = earlier;
    }
    Ok(first)
}

/// Prompts of the training rows of the data of `flags`, split by `rule`.
fn learned_prompts(flags: &DataFlags, rule: SplitRule) -> Result<HashSet<Vec<ChatMessage>>> {
    let MappedSource { source, columns } = flags.open_source()?;
    let SplitRule { validation, seed } = rule;
    let load = |columns: Option<&ExampleColumns>| {
        source.load_dataset(columns, 1, DemonstrationStyle::Clean, validation, seed)
    };
    // Rows of part 8 may be prompts alone.
    let splits = load(columns.as_ref()).or_else(|_| load(Some(&ExampleColumns::AnyPrompt)))?;
    Ok(splits.train.iter().map(Example::conversation).collect())
}
