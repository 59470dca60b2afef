//! Our side of `cargo x compare`: does each piece of work that a line of its input asks for, as `python/worker.py` does it
//! in PyTorch, and answers with a line of JSON.

use std::io::{BufRead, Write, stdin, stdout};
use std::num::NonZeroUsize;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use benches::operation::{Operation, Twin};
use benches::train_step::{Model, Times, Training};
use benches::work;
use candle_core::{DType, Device};
use clap::Parser;
use serde::Deserialize;
use serde_json::{Value, json};
use tensor_core::Rng;
use tensor_core::allocator::keep_freed_memory;

#[global_allocator]
static ALLOCATOR: tensor_core::allocator::MiMalloc = tensor_core::allocator::MiMalloc;

/// Does the work that lines of JSON on standard input ask for
#[derive(Parser)]
struct Arguments {
    /// Print the list of work to compare, and end
    #[arg(long)]
    list: bool,
    /// CPU threads
    #[arg(long, default_value = "2")]
    threads: NonZeroUsize,
}

#[derive(Deserialize)]
struct Request {
    /// How long to repeat the work.
    seconds: f64,
    #[serde(flatten)]
    work: Work,
}

#[derive(Deserialize)]
#[serde(tag = "work", rename_all = "snake_case")]
enum Work {
    Matmul { m: usize, n: usize, k: usize },
    Attention { shape: [usize; 4], backward: bool },
    Op { op: String, shape: Vec<usize> },
    TrainStep(Model),
}

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    if arguments.list {
        println!("{}", serde_json::to_string(&work::all())?);
        return Ok(());
    }
    keep_freed_memory();
    let threads = tensor_core::threads::set_threads(Some(arguments.threads))?;
    println!("{}", json!({ "ready": true, "threads": threads }));
    let mut training = None;
    for line in stdin().lock().lines() {
        let answer = line
            .context("reading a request")
            .and_then(|line| Ok(serde_json::from_str(&line)?))
            .and_then(|request| perform(&request, &mut training))
            .unwrap_or_else(|error| json!({ "error": format!("{error:#}") }));
        println!("{answer}");
        stdout().flush()?;
    }
    Ok(())
}

/// A model in training, and the memory that was in use before it was built.
type InTraining = Option<(Training, u64)>;

fn perform(Request { seconds, work }: &Request, training: &mut InTraining) -> Result<Value> {
    match work {
        Work::Matmul { m, n, k } => {
            let mut rng = Rng::new(0);
            let a = rng.normal_tensor((*m, *k), 1., DType::F32, &Device::Cpu)?;
            let b = rng.normal_tensor((*n, *k), 1., DType::F32, &Device::Cpu)?;
            repeat(*seconds, || tensor_core::ops::linear(&a, &b, None).map(drop))
        }
        Work::Attention { shape, backward } => {
            let attention = Operation::attention(*shape)?;
            repeat(*seconds, || match backward {
                true => attention.forward_backward(Twin::Fused),
                false => attention.forward(Twin::Fused).map(drop),
            })
        }
        Work::Op { op, shape } => {
            let Some(operation) = Operation::new(op, shape)? else {
                bail!("no operation `{op}` of shape {shape:?}")
            };
            repeat(*seconds, || operation.forward_backward(Twin::Fused))
        }
        Work::TrainStep(model) => train(model, *seconds, training),
    }
}

/// Median seconds of a call, after one that does not count.
fn repeat(seconds: f64, mut call: impl FnMut() -> candle_core::Result<()>) -> Result<Value> {
    call()?;
    let mut times = Vec::new();
    let start = Instant::now();
    while times.is_empty() || start.elapsed().as_secs_f64() < seconds {
        let start = Instant::now();
        call()?;
        times.push(start.elapsed());
    }
    Ok(json!({ "calls": times.len(), "seconds": median(times) }))
}

/// Steps of the model that is in training, or of a fresh one.
fn train(model: &Model, seconds: f64, training: &mut InTraining) -> Result<Value> {
    let (training, before) = match training {
        Some(same) if same.0.model() == model => same,
        _ => {
            *training = None;
            let before = resident("VmRSS")?;
            let fresh = training.insert((Training::new(*model)?, before));
            fresh.0.step()?;
            fresh.0.step()?;
            fresh
        }
    };
    let mut all: Vec<Times> = Vec::new();
    let start = Instant::now();
    let mut loss = f32::NAN;
    while all.len() < 3 || start.elapsed().as_secs_f64() < seconds {
        let (this_loss, times) = training.step()?;
        loss = this_loss;
        all.push(times);
    }
    let median_of = |part: fn(&Times) -> Duration| median(all.iter().map(part).collect());
    Ok(json!({
        "steps": all.len(),
        "seconds": median_of(|times| times.step),
        "forward": median_of(|times| times.forward),
        "backward": median_of(|times| times.backward),
        "loss": loss,
        "peak_bytes": resident("VmHWM")?.saturating_sub(*before),
    }))
}

fn median(mut times: Vec<Duration>) -> f64 {
    times.sort();
    times[times.len() / 2].as_secs_f64()
}

/// A number of bytes that the system keeps of this process: VmRSS what is in memory now, VmHWM the most so far.
fn resident(what: &str) -> Result<u64> {
    let status =
        std::fs::read_to_string("/proc/self/status").context("reading /proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix(what)?.strip_prefix(':'));
    let kib = line.and_then(|line| line.trim().strip_suffix(" kB"));
    Ok(1024 * kib.context("/proc/self/status has no such line")?.parse::<u64>()?)
}
