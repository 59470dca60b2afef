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
    let of_model = match data {
        Some(data) => RunSplit::of_model(Some(&args.model), data, &args.task.dataset)?,
        None => None,
    };
    let split_of_model = of_model.as_ref().filter(|_| eval_file.is_none());
    let rule = rule_of_run(args.given_split(), is_resumed, split_of_model);
    let dataset = args.task.load_dataset(eval_file, args.eval_split.as_deref(), rule)?;
    if data.is_some() {
        dataset.print_counts();
    }
    if let Some(of_model) = of_model {
        of_model.warn_of_learned(&dataset.splits.validation);
    }
    Ok((dataset, rule))
}
