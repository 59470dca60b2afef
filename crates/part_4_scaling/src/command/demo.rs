//! The demo: tokens from text, and a run that nothing can spoil.

mod merges;
mod pipeline;

use anyhow::Result;
use tiny_gpt::command::as_usage_error;

use super::arguments::DemoArgs;
use crate::tokenizer_training::check;

pub(super) fn run(args: &DemoArgs) -> Result<()> {
    as_usage_error(check(args.vocab_size))?;
    args.compute.open_device()?;
    merges::show(args)?;
    pipeline::show()
}
