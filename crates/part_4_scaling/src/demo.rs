//! The demo: tokens from text, and a run that nothing can spoil.

mod merges;
mod pipeline;

use anyhow::Result;
use scaling::tokenizer_training::check;
use tiny_gpt::command::usage;

use crate::arguments::DemoArgs;

pub(crate) fn run(args: &DemoArgs) -> Result<()> {
    usage(check(args.vocab_size))?;
    args.compute.open()?;
    merges::show(args)?;
    pipeline::show()
}
