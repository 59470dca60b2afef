//! Demo: byte-pair encoding of a text, and the guarantees of the training pipeline.

mod merges;
mod pipeline;

use anyhow::Result;
use experiment::program::as_usage_error;

use super::arguments::DemoArgs;
use crate::tokenizer_training::ensure_valid_vocab_size;

pub(super) fn run(args: &DemoArgs) -> Result<()> {
    as_usage_error(ensure_valid_vocab_size(args.vocab_size))?;
    args.compute.open_device()?;
    merges::print_merges_demo(args)?;
    pipeline::print_pipeline_demo()
}
