//! `part_6 merge`: a model and its adapter as one model folder, which all programs open.

use std::path::PathBuf;

use anyhow::{Context, Result, ensure};
use clap::Args;
use experiment::flags::ComputeFlags;
use experiment::terminal::printable;
use modern::Checkpoint;

use crate::ChatTokenizer;
use crate::merged_model::open_merged;
use crate::model_flags::FinetunedFlags;

#[derive(Args)]
#[command(args_override_self = true)]
pub(super) struct MergeArgs {
    #[command(flatten)]
    finetuned: FinetunedFlags,
    /// New folder for the merged model
    #[arg(long, visible_alias = "output-dir", value_name = "DIR")]
    out: PathBuf,
    #[command(flatten)]
    compute: ComputeFlags,
}

pub(super) fn run(args: &MergeArgs) -> Result<()> {
    let device = args.compute.open_device()?;
    let out = args.out.display();
    let is_free = std::fs::read_dir(&args.out).map_or(true, |mut files| files.next().is_none());
    ensure!(is_free, "{out} is not an empty folder: name a new one with --out");
    let named = &args.finetuned.model;
    let (base, adapter) = args.finetuned.base_and_adapter()?.with_context(|| {
        format!("{named} has no adapter to merge: name one with --adapter, or as --model")
    })?;
    let variables = args.finetuned.chat_template.variables(named)?;
    let checkpoint = open_merged(&base, &adapter, &device)?;
    let mut checkpoint = checkpoint.with_chat_variables(&variables);
    if checkpoint.chat_template.is_some() || args.finetuned.template.is_some() {
        // The end of a turn is then among the tokens at which the model stops.
        let chat_tokenizer =
            ChatTokenizer::from_checkpoint(&mut checkpoint, args.finetuned.template)?;
        let ChatTokenizer { tokenizer, template, .. } = chat_tokenizer;
        checkpoint = Checkpoint { tokenizer, chat_template: Some(template), ..checkpoint };
    }
    checkpoint.save(&args.out)?;
    if base.ends_with(".gguf") {
        println!("the quantized weights of {} were dequantized to f32", printable(&base));
    }
    let adapter = adapter.to_string_lossy();
    println!("{} with the adapter {} is in {out}", printable(&base), printable(&adapter));
    Ok(())
}
