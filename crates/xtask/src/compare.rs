//! `cargo x compare`: speed of this project relative to PyTorch, transformers or llama.cpp.
//!
//! Machines differ and are noisy, so the result is a ratio of turns that alternate in the same run.
//! Each side is a process that does one piece of work at a time, so that the sides do not disturb
//! each other. Both processes restart for each row, so that peak memory is that of the row. A
//! training step is compared with PyTorch in each of its modes, of which the fastest counts; both
//! sides multiply the matrices of linear layers in the same number format.

use std::path::PathBuf;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::compare_table::{Row, print_table};
use crate::processor;
use crate::repository::root;
use crate::worker::Worker;

/// Mode of both sides in a training step.
#[derive(Clone, Copy)]
struct Mode {
    /// PyTorch's: as it is, compiled, and with bf16 products (autocast).
    pytorch: &'static str,
    /// Our `--dtype`.
    dtype: &'static str,
}

const TRAINING_MODES: [Mode; 4] = [
    Mode { pytorch: "eager", dtype: "f32" },
    Mode { pytorch: "compile", dtype: "f32" },
    Mode { pytorch: "bf16", dtype: "bf16" },
    Mode { pytorch: "bf16-compile", dtype: "bf16" },
];

/// Options of the comparison.
#[derive(clap::Args)]
pub(crate) struct Options {
    /// Print one JSON object per row instead of a table
    #[arg(long)]
    json: bool,
    /// Python with PyTorch (generation also needs transformers, gguf and llama-cpp-python)
    #[arg(long, value_name = "PATH", env = "COURSE_PYTHON", default_value = "python3")]
    python: PathBuf,
    /// Number of CPU threads of each side
    #[arg(long, default_value_t = 2)]
    threads: usize,
    /// Number of turns of each side per row
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// Duration of a turn in seconds
    #[arg(long, default_value_t = 2.)]
    seconds: f64,
    /// Compare only the rows whose name contains this text
    #[arg(long, value_name = "TEXT", default_value = "")]
    only: String,
    /// Also compare generation with the Llama in this .gguf file
    #[arg(long, value_name = "FILE")]
    model: Option<PathBuf>,
}

/// Entry of the worker's list of benchmarks.
#[derive(Deserialize)]
struct Work {
    name: String,
    request: Value,
    amount: f64,
    unit: String,
    needs: Option<Needs>,
}

/// Amount of the resource that bounds a call.
#[derive(Clone, Copy, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Needs {
    Flops(f64),
    Bytes(f64),
}

pub(crate) fn run(options: &Options) -> Result<()> {
    let build = ["build", "--release", "--quiet", "-p", "benches", "--bin", "worker"];
    let status = Command::new(env!("CARGO")).args(build).current_dir(root()).status()?;
    ensure!(status.success(), "cargo {} failed", build.join(" "));
    let mut list = our_command(options, "f32");
    list.arg("--list");
    if let Some(model) = &options.model {
        list.arg("--model").arg(std::path::absolute(model)?);
    }
    let list = list.stderr(Stdio::inherit()).output().context("running the worker with --list")?;
    ensure!(list.status.success(), "the worker with --list failed");
    let list: Vec<Work> =
        serde_json::from_slice(&list.stdout).context("parsing the list of benchmarks")?;
    let selected: Vec<&Work> = list.iter().filter(|w| w.name.contains(&options.only)).collect();
    ensure!(!selected.is_empty(), "--only: no row name contains `{}`", options.only);
    let mut rows = Vec::new();
    for work in selected {
        eprintln!("{} ...", work.name);
        for row in compare_modes(work, options)? {
            if options.json {
                println!("{}", serde_json::to_string(&row)?);
            }
            rows.push(row);
        }
    }
    if !options.json {
        println!("{}; {} threads", processor::describe(), options.threads);
        print_table(&rows);
    }
    Ok(())
}

fn our_command(options: &Options, dtype: &str) -> Command {
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or(root().join("target"), PathBuf::from);
    let mut command = Command::new(target.join("release/worker"));
    command.arg(format!("--threads={}", options.threads)).arg(format!("--dtype={dtype}"));
    command
}

fn python_command(options: &Options, mode: &str) -> Command {
    let mut command = Command::new(&options.python);
    command
        .arg(root().join("benches/python/worker.py"))
        .arg(format!("--threads={}", options.threads))
        .arg(format!("--mode={mode}"));
    command
}

/// Rows of `work`: for a training step, those of each mode of PyTorch, of which the fastest is
/// marked.
fn compare_modes(work: &Work, options: &Options) -> Result<Vec<Row>> {
    if work.request["work"] != "train_step" {
        return compare(work, TRAINING_MODES[0], options);
    }
    let mut of_modes = Vec::new();
    for mode in TRAINING_MODES {
        let mut rows = compare(work, mode, options)?;
        let modes = format!("; ours in {}, PyTorch {}", mode.dtype, mode.pytorch);
        rows.iter_mut().for_each(|row| row.work += &modes);
        of_modes.push(rows);
    }
    let measured = of_modes.iter_mut().filter(|rows| rows[0].error.is_none());
    let fastest = measured.max_by(|a, b| a[0].theirs.total_cmp(&b[0].theirs));
    if let Some(rows) = fastest {
        rows[0].work += ", its best";
    }
    Ok(of_modes.into_iter().flatten().collect())
}

/// Runs the work on both sides in alternating turns. If the other side fails (no compiler, an
/// illegal instruction), the only row says so.
fn compare(work: &Work, mode: Mode, options: &Options) -> Result<Vec<Row>> {
    let mut ours = Worker::start(our_command(options, mode.dtype))?;
    let mut theirs = Worker::start(python_command(options, mode.pytorch))
        .context("the Python worker did not start: set --python to a Python that has torch")?;
    let mut request = work.request.clone();
    request["seconds"] = json!(options.seconds);
    let mut responses = Vec::new();
    for _ in 0..options.rounds.max(1) {
        let ours = ours.request(&request)?;
        match theirs.request(&request) {
            Ok(theirs) => responses.push((ours, theirs)),
            Err(error) => return Ok(vec![Row::of_failure(work.name.clone(), &error)]),
        }
    }
    let both = |value: &dyn Fn(&Value) -> Option<f64>| -> Option<Vec<(f64, f64)>> {
        responses.iter().map(|(ours, theirs)| Some((value(ours)?, value(theirs)?))).collect()
    };
    let speed = |response: &Value| Some(work.amount / response["seconds"].as_f64()?);
    let unit = format!("{}/s", work.unit);
    let speeds =
        both(&speed).with_context(|| format!("{}: a response has no `seconds`", work.name))?;
    let mut rows = vec![Row::new(work.name.clone(), &unit, &speeds)];
    let calls_per_s = rows[0].ours / work.amount;
    match work.needs {
        Some(Needs::Flops(flops)) => rows[0].gflop_per_s = Some(calls_per_s * flops / 1e9),
        Some(Needs::Bytes(bytes)) => rows[0].gb_per_s = Some(calls_per_s * bytes / 1e9),
        None => {}
    }
    // Upper bound of the decoding speed: the weights are read once per token, and nothing else.
    let plain_read = responses
        .iter()
        .map(|(ours, _)| Some((speed(ours)?, work.amount / ours["read_seconds"].as_f64()?)));
    let backward =
        |response: &Value| Some(response["backward"].as_f64()? / response["forward"].as_f64()?);
    let memory = |response: &Value| Some(response["peak_bytes"].as_f64()? / f64::from(1 << 20));
    for (prefix, unit, pairs) in [
        ("against a plain read of the weights: ", &*unit, plain_read.collect()),
        ("backward time / forward time: ", "", both(&backward)),
        ("peak memory (less is better): ", "MiB", both(&memory)),
    ] {
        rows.extend(pairs.map(|pairs| Row::new(format!("{prefix}{}", work.name), unit, &pairs)));
    }
    Ok(rows)
}
