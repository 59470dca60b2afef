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
    let (data, model) = (args.task.file_data(), Some(args.policy.model.as_str()));
    let (eval_file, eval_split) = (args.eval_file.as_deref(), args.eval_split.as_deref());
    let sft_split = match data {
        Some(data) => RunSplit::find(model, data, &args.task.dataset)?,
        None => None,
    };
    let found_split = sft_split.as_ref().filter(|_| eval_file.is_none());
    let resumed = setup.is_resumed.then_some(setup.out);
    let split_spec = split_of_run(resumed, args.given_split(), found_split, SplitSpec::Problems)?;
    let dataset = args.task.load_dataset(eval_file, eval_split, split_spec)?;
    if data.is_some() {
        dataset.print_counts();
    }
    let of_eval_file = match eval_file {
        Some(file) => {
            RunSplit::find(model, file, &args.task.dataset.for_evaluation(file, eval_split))?
        }
        None => None,
    };
    for earlier in [sft_split, of_eval_file].into_iter().flatten() {
        earlier.warn_of_learned(&dataset.splits.validation);
    }
    Ok(dataset)
}
