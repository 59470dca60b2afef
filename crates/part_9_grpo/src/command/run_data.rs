//! Problems of a run, and the rule of their split.

use anyhow::Result;
use sft::run_split::rule_of_run;
use sft::{RunSplit, SplitRule};

use super::arguments::TrainArgs;
use crate::TaskDataset;

/// Problems of a run, and the rule of their split if it is not the default. A new run holds out the
/// problems that the run of its model held out of the same data.
pub(super) fn load_run_data(
    args: &TrainArgs,
    is_resumed: bool,
) -> Result<(TaskDataset, Option<SplitRule>)> {
    let (data, eval_file) = (args.task.data.as_deref(), args.eval_file.as_deref());
    let sft_split = match data {
        Some(data) => RunSplit::find(Some(&args.model), data, &args.task.dataset)?,
        None => None,
    };
    let found_split = sft_split.as_ref().filter(|_| eval_file.is_none());
    let rule = rule_of_run(args.given_split(), is_resumed, found_split);
    let dataset = args.task.load_dataset(eval_file, args.eval_split.as_deref(), rule)?;
    if data.is_some() {
        dataset.print_counts();
    }
    if let Some(sft_split) = sft_split {
        sft_split.warn_of_learned(&dataset.splits.validation);
    }
    Ok((dataset, rule))
}
