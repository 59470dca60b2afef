//! Settings of a run from YAML, `--set`, flags and the settings of an older run. The settings that
//! are stored give the same settings again.
#![no_main]

use std::cell::RefCell;

use anyhow::Result;
use clap::{Parser, Subcommand};
use experiment::flags::{OptimizerFlags, RunFlags};
use experiment::{RunSetup, command_line};
use fuzz::{Scratch, json_target};
use modern::flags::RunChatTemplateFlags;
use serde::Serialize;
use serde_json::Value;

/// Command line with the flags of a part.
#[derive(Parser)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    Train(Box<TrainArgs>),
    Eval(Box<TrainArgs>),
}

#[derive(Serialize, clap::Args)]
struct TrainArgs {
    /// Data file
    #[arg(long, visible_alias = "dataset")]
    data: Option<String>,
    /// Column map
    #[arg(long)]
    columns: Option<String>,
    #[command(flatten)]
    chat_template: RunChatTemplateFlags,
    #[command(flatten)]
    optimizer: OptimizerFlags,
    #[command(flatten)]
    run: RunFlags,
}

thread_local! {
    static SCRATCH: RefCell<Scratch> = RefCell::new(Scratch::new("settings"));
}

fn run(document: Value) {
    SCRATCH.with_borrow_mut(|scratch| {
        scratch.write_files(&document);
        let folder = scratch.path().display().to_string();
        let words = document["args"].as_array().into_iter().flatten().filter_map(Value::as_str);
        let args = words.map(|word| word.replace("FOLDER", &folder));
        let args = ["part".to_string()].into_iter().chain(args);
        let Ok(settings) = settings_of(args) else { return };
        scratch.write("config.json", settings.to_string());
        scratch.write("metrics.jsonl", "");
        let stored = ["part", "train", "--config"].map(String::from).into_iter();
        let again = settings_of(stored.chain([format!("{folder}/config.json")]));
        assert_eq!(again.expect("stored settings are valid"), settings);
    });
}

/// Settings that a command line gives to a new run.
fn settings_of(args: impl Iterator<Item = String>) -> Result<Value> {
    let cli: Cli = command_line::parse(args, &["data", "columns"])?;
    let (Command::Train(args) | Command::Eval(args)) = cli.command;
    args.columns.as_deref().map(datasets::ExampleColumns::parse).transpose()?;
    let inputs: [(&str, Option<&str>); 0] = [];
    Ok(RunSetup::new(args.as_ref(), &args.run, &[], &inputs)?.settings)
}

json_target!("settings.dict", run);
