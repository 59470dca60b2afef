//! `part_9 table`: a comparison of algorithms on the arithmetic task, from one base model and with
//! the same number of sampled tokens.
//!
//! Each run becomes a row of the table when it has finished. Existing rows are not run again, so
//! the command can be interrupted and restarted at any time.

use std::fmt;

use anyhow::Result;
use experiment::machine::processor_seconds;
use experiment::train_state::parameters_sha256;
use modern::GptModern;
use serde::{Deserialize, Serialize};

use super::algorithms::{ALGORITHMS, Algorithm, SharedSetup, TrainedRun};
use super::table_arguments::TableArgs;
use crate::results_table::{ResultsTable, RunResult};

/// Settings that all runs of the table share.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct TableSettings {
    pub(super) model: String,
    /// Hash of the model's weights.
    #[serde(alias = "start")]
    pub(super) base_sha256: String,
    pub(super) tokens: usize,
    pub(super) lr: f64,
    /// Hash of the training problems, if they are not the task's.
    #[serde(default)]
    pub(super) problems_sha256: Option<String>,
}

impl fmt::Display for TableSettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { model, base_sha256, tokens, lr, problems_sha256 } = self;
        let short = |hash: &str| hash.chars().take(8).collect::<String>();
        let base = short(base_sha256);
        write!(f, "from {model} ({base}) with {tokens} tokens and learning rate {lr}")?;
        let problems = problems_sha256.as_deref().map(short);
        problems.map_or(Ok(()), |problems| write!(f, " on the problems {problems}"))
    }
}

pub(super) fn run(args: &TableArgs) -> Result<()> {
    let device = args.compute.open_device()?;
    let mut checkpoint = SharedSetup::open_base_model(args, &device)?;
    let settings = TableSettings {
        model: args.policy.model.clone(),
        base_sha256: parameters_sha256(&checkpoint.parameters)?,
        tokens: args.tokens.get(),
        lr: args.lr,
        problems_sha256: None,
    };
    let mut table = ResultsTable::open(&args.out, settings)?;
    let mut setup = SharedSetup::new(args, &mut checkpoint, &device)?;
    let mut inference = checkpoint.parameters.for_inference();
    let base = GptModern::new(checkpoint.model.config(), inference.root())?;
    let before = setup.evaluate(&base)?;
    for seed in args.run_seeds() {
        for algorithm in ALGORITHMS {
            let name = algorithm.name();
            if table.contains_run(&name, seed) {
                continue;
            }
            println!("{name}, seed {seed}");
            let begin = processor_seconds();
            let TrainedRun { model, n_tokens, mut curve } =
                setup.train(algorithm, before.test.length_mean, seed)?;
            let cpu_minutes = (processor_seconds() - begin) / 60.;
            let after = setup.evaluate(&model)?;
            if curve.is_empty() {
                curve.push((0, before.validation.matches()?.exact_match));
                curve.push((n_tokens, after.validation.matches()?.exact_match));
            }
            let right = after.test.matches()?;
            table.add_run(RunResult {
                method: name,
                seed,
                exact_match_before: before.test.matches()?.exact_match,
                exact_match: right.exact_match,
                relaxed_match: right.relaxed_match,
                training_accuracy: None,
                plateau: None,
                n_tokens,
                cpu_minutes,
                curve,
            })?;
        }
    }
    let names = ALGORITHMS.map(Algorithm::name);
    table.print(&names);
    table.write_curves(&names, &args.out.join("table.svg"))
}
