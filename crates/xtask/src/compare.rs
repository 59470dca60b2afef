//! `cargo x compare`: the same work here and in PyTorch, transformers or llama.cpp, in turn, in the same run.
//!
//! Machines are noisy and differ; what counts is the ratio. Each side is a process that does one piece of work at a
//! time, so that neither disturbs the other, and gets it anew for each row, so that memory is that row's alone.

use std::path::PathBuf;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::root;
use crate::worker::Worker;

/// What to compare, and how.
#[derive(clap::Args)]
pub(crate) struct Options {
    /// Print one JSON object per row instead of a table
    #[arg(long)]
    json: bool,
    /// A Python that has PyTorch (`pip install torch`), and for generation transformers, gguf and llama-cpp-python
    #[arg(long, value_name = "PATH", env = "COURSE_PYTHON", default_value = "python3")]
    python: PathBuf,
    /// CPU threads of each side
    #[arg(long, default_value_t = 2)]
    threads: usize,
    /// Turns that each side gets per row
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// Seconds of a turn
    #[arg(long, default_value_t = 2.)]
    seconds: f64,
    /// Only rows whose name contains this
    #[arg(long, default_value = "")]
    only: String,
    /// Generate with the Llama in this .gguf file, too
    #[arg(long, value_name = "FILE")]
    model: Option<PathBuf>,
}

/// An entry of the worker's list.
#[derive(Deserialize)]
struct Work {
    name: String,
    request: Value,
    amount: f64,
    unit: String,
    needs: Option<Needs>,
}

/// What bounds a piece of work, for one call.
#[derive(Clone, Copy, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Needs {
    Flops(f64),
    Bytes(f64),
}

/// One line of the result.
#[derive(Serialize)]
struct Row {
    work: String,
    ours: f64,
    #[serde(rename = "pytorch")]
    theirs: f64,
    ratio: f64,
    unit: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    gflop_per_s: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    gb_per_s: Option<f64>,
}

pub(crate) fn run(options: &Options) -> Result<()> {
    let build = ["build", "--release", "--quiet", "-p", "benches", "--bin", "worker"];
    let status = Command::new(env!("CARGO")).args(build).current_dir(root()).status()?;
    ensure!(status.success(), "cargo {} failed", build.join(" "));
    let mut list = ours(options);
    list.arg("--list");
    if let Some(model) = &options.model {
        list.arg("--model").arg(std::path::absolute(model)?);
    }
    let list = list.stderr(Stdio::inherit()).output().context("asking for the list of work")?;
    ensure!(list.status.success(), "there is no list of work");
    let list: Vec<Work> = serde_json::from_slice(&list.stdout).context("the list of work")?;
    let chosen: Vec<&Work> = list.iter().filter(|w| w.name.contains(&options.only)).collect();
    ensure!(!chosen.is_empty(), "no row's name contains `{}`", options.only);
    let mut rows = Vec::new();
    for work in chosen {
        eprintln!("{} ...", work.name);
        for row in compare(work, options)? {
            if options.json {
                println!("{}", serde_json::to_string(&row)?);
            }
            rows.push(row);
        }
    }
    if !options.json {
        print_table(&rows);
    }
    Ok(())
}

fn ours(options: &Options) -> Command {
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or(root().join("target"), PathBuf::from);
    let mut command = Command::new(target.join("release/worker"));
    command.arg(format!("--threads={}", options.threads));
    command
}

fn theirs(options: &Options) -> Command {
    let mut command = Command::new(&options.python);
    command
        .arg(root().join("benches/python/worker.py"))
        .arg(format!("--threads={}", options.threads));
    command
}

/// Lets both sides do the work in turn.
fn compare(work: &Work, options: &Options) -> Result<Vec<Row>> {
    let mut ours = Worker::start(ours(options))?;
    let mut theirs = Worker::start(theirs(options))
        .context("the other side did not start; point --python at a Python that has torch")?;
    let mut request = work.request.clone();
    request["seconds"] = json!(options.seconds);
    let mut answers = Vec::new();
    for _ in 0..options.rounds.max(1) {
        answers.push((ours.ask(&request)?, theirs.ask(&request)?));
    }
    let both = |value: &dyn Fn(&Value) -> Option<f64>| -> Option<Vec<(f64, f64)>> {
        answers.iter().map(|(ours, theirs)| Some((value(ours)?, value(theirs)?))).collect()
    };
    let speed = |answer: &Value| Some(work.amount / answer["seconds"].as_f64()?);
    let unit = format!("{}/s", work.unit);
    let speeds = both(&speed).with_context(|| format!("{}: no seconds", work.name))?;
    let mut rows = vec![Row::new(work.name.clone(), &unit, &speeds)];
    let calls_per_s = rows[0].ours / work.amount;
    match work.needs {
        Some(Needs::Flops(flops)) => rows[0].gflop_per_s = Some(calls_per_s * flops / 1e9),
        Some(Needs::Bytes(bytes)) => rows[0].gb_per_s = Some(calls_per_s * bytes / 1e9),
        None => {}
    }
    // The weights read once per token and nothing else: as far as a text's speed can go.
    let read = answers
        .iter()
        .map(|(ours, _)| Some((speed(ours)?, work.amount / ours["read_seconds"].as_f64()?)));
    let backward = |a: &Value| Some(a["backward"].as_f64()? / a["forward"].as_f64()?);
    let memory = |answer: &Value| Some(answer["peak_bytes"].as_f64()? / f64::from(1 << 20));
    for (what, unit, pairs) in [
        ("against a plain read of the weights: ", &*unit, read.collect()),
        ("backward time / forward time: ", "", both(&backward)),
        ("peak memory (less is better): ", "MiB", both(&memory)),
    ] {
        rows.extend(pairs.map(|pairs| Row::new(format!("{what}{}", work.name), unit, &pairs)));
    }
    Ok(rows)
}

impl Row {
    /// The medians of what both sides reached in each turn.
    fn new(work: String, unit: &str, pairs: &[(f64, f64)]) -> Self {
        let median_of = |f: fn(&(f64, f64)) -> f64| median(pairs.iter().map(f).collect());
        Self {
            work,
            ours: median_of(|pair| pair.0),
            theirs: median_of(|pair| pair.1),
            ratio: median_of(|pair| pair.0 / pair.1), // of each turn: the machine's mood is the same for both
            unit: unit.to_owned(),
            gflop_per_s: None,
            gb_per_s: None,
        }
    }
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

fn print_table(rows: &[Row]) {
    // The best that either side reaches where nothing else is done stands for what the machine can do.
    let peak = |name: &str, rate: fn(&Row) -> Option<f64>| {
        let rows = rows.iter().filter(|row| row.work.starts_with(name));
        rows.filter_map(|row| Some(rate(row)? * (row.theirs / row.ours).max(1.))).fold(0., f64::max)
    };
    let flops = peak("matrix product", |row| row.gflop_per_s);
    let bytes = peak("memory read", |row| row.gb_per_s);
    println!("| work | ours | theirs: PyTorch eager if not named | ratio | rate | of peak |");
    println!("| --- | --- | --- | --- | --- | --- |");
    for Row { work, ours, theirs, ratio, unit, gflop_per_s, gb_per_s } in rows {
        let number = |x: &f64| if *x < 100. { format!("{x:.2}") } else { format!("{x:.0}") };
        let (rate, share) = match (gflop_per_s, gb_per_s) {
            (Some(rate), _) => (format!("{rate:.0} GFLOP/s"), rate / flops),
            (_, Some(rate)) => (format!("{rate:.1} GB/s"), rate / bytes),
            _ => (String::new(), f64::INFINITY),
        };
        let share = match share.is_finite() {
            true => format!("{:.0} %", 100. * share),
            false => String::new(), // without a row that shows the peak
        };
        let (ours, theirs) = (number(ours), number(theirs));
        println!("| {work} | {ours} {unit} | {theirs} {unit} | {ratio:.2} | {rate} | {share} |");
    }
}
