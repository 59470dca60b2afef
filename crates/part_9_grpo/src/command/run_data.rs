//! Problems of a run.

use anyhow::Result;
use datasets::SplitSpec;
use experiment::RunSetup;
use sft::RunSplit;
use sft::run_split::split_of_run;

use super::arguments::TrainArgs;
use crate::TaskDataset;

/// Problems of a run. A new run holds out the problems that the run of its model held out of the
/// same data.
pub(super) fn load_run_data(args: &TrainArgs, setup: &RunSetup<'_>) -> Result<TaskDataset> {
    let (data, eval_file) = (args.task.file_data(), args.eval_file.as_deref());
    let sft_split = match data {
        Some(data) => RunSplit::find(Some(&args.policy.model), data, &args.task.dataset)?,
        None => None,
    };
    let found_split = sft_split.as_ref().filter(|_| eval_file.is_none());
    let resumed = setup.is_resumed.then_some(setup.out);
    let split_spec = split_of_run(resumed, args.given_split(), found_split, SplitSpec::Problems)?;
    let dataset = args.task.load_dataset(eval_file, args.eval_split.as_deref(), split_spec)?;
    if data.is_some() {
        dataset.print_counts();
    }
    if let Some(sft_split) = sft_split {
        sft_split.warn_of_learned(&dataset.splits.validation);
    }
    Ok(dataset)
}
