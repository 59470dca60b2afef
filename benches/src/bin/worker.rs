//! Our side of `cargo x compare`: does each piece of work that a line of its input asks for, as `python/worker.py` does it
//! in PyTorch, and answers with a line of JSON.

use std::io::{BufRead, Write, stdin, stdout};
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use benches::generation::{self, Weights};
use benches::memory::{resident, sum};
use benches::operation::{Operation, Twin};
use benches::policy_update::{PolicyUpdate, Updating};
use benches::train_step::{Step, Times, Training};
use benches::work;
use candle_core::{DType, Device};
use clap::Parser;
use modern::CacheKind;
use serde::Deserialize;
use serde_json::{Value, json};
use tensor_core::allocator::keep_freed_memory;
use tensor_core::{Rng, ops};

#[global_allocator]
static ALLOCATOR: tensor_core::allocator::MiMalloc = tensor_core::allocator::MiMalloc;

/// Does the work that lines of JSON on standard input ask for
#[derive(Parser)]
struct Arguments {
    /// Print the list of work to compare, and end
    #[arg(long)]
    list: bool,
    /// A .gguf file to list generation with, too
    #[arg(long, value_name = "FILE", requires = "list")]
    model: Option<PathBuf>,
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

#[derive(PartialEq, Deserialize)]
#[serde(tag = "work", rename_all = "snake_case")]
enum Work {
    Matmul { m: usize, n: usize, k: usize },
    Attention { shape: [usize; 4], backward: bool },
    Op { op: String, shape: Vec<usize> },
    TrainStep(Step),
    PolicyUpdate(PolicyUpdate),
    Read { bytes: usize },
    Generate { model: PathBuf, weights: Weights, prompt: usize, new: usize, time: Phase },
}

/// Which part of a text's making is timed.
#[derive(PartialEq, Clone, Copy, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Phase {
    Prefill,
    Decode,
}

/// A piece of work that can be done again and again: for so many seconds, giving its times.
type Prepared = Box<dyn FnMut(f64) -> Result<Value>>;

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    if arguments.list {
        println!("{}", serde_json::to_string(&work::all(arguments.model.as_deref())?)?);
        return Ok(());
    }
    keep_freed_memory();
    let threads = tensor_core::threads::set_num_threads(Some(arguments.threads))?;
    println!("{}", json!({ "ready": true, "threads": threads }));
    let mut latest = None;
    for line in stdin().lock().lines() {
        let answer = line
            .context("reading a request")
            .and_then(|line| Ok(serde_json::from_str(&line)?))
            .and_then(|request| perform(request, &mut latest, threads))
            .unwrap_or_else(|error| json!({ "error": format!("{error:#}") }));
        println!("{answer}");
        stdout().flush()?;
    }
    Ok(())
}

/// Does the work, prepared anew only where it is not that of the latest request.
fn perform(
    Request { seconds, work }: Request,
    latest: &mut Option<(Work, Prepared)>,
    threads: usize,
) -> Result<Value> {
    let (work, mut prepared) = match latest.take() {
        Some((latest, prepared)) if latest == work => (latest, prepared),
        other => {
            drop(other); // two models need not fit into memory
            let prepared = prepare(&work, threads)?;
            (work, prepared)
        }
    };
    let answer = prepared(seconds)?;
    *latest = Some((work, prepared));
    Ok(answer)
}

fn prepare(work: &Work, threads: usize) -> Result<Prepared> {
    Ok(match *work {
        Work::Matmul { m, n, k } => {
            let mut rng = Rng::new(0);
            let a = rng.normal_tensor((m, k), 1., DType::F32, &Device::Cpu)?;
            let b = rng.normal_tensor((n, k), 1., DType::F32, &Device::Cpu)?;
            Box::new(move |seconds| repeat(seconds, || ops::linear(&a, &b, None).map(drop)))
        }
        Work::Read { bytes } => {
            let numbers = vec![1f32; bytes / 4];
            Box::new(move |seconds| {
                repeat(seconds, || {
                    std::hint::black_box(sum(&numbers, threads));
                    Ok(())
                })
            })
        }
        Work::Attention { shape, backward } => {
            let attention = Operation::attention(shape)?;
            Box::new(move |seconds| {
                repeat(seconds, || match backward {
                    true => attention.forward_backward(Twin::Fused),
                    false => attention.forward(Twin::Fused).map(drop),
                })
            })
        }
        Work::Op { ref op, ref shape } => {
            let operation = Operation::new(op, shape)?;
            let operation =
                operation.with_context(|| format!("no operation `{op}` of shape {shape:?}"))?;
            Box::new(move |seconds| repeat(seconds, || operation.forward_backward(Twin::Fused)))
        }
        Work::TrainStep(step) => {
            let before = resident("VmRSS")?;
            let mut training = Training::new(step)?;
            training.step()?;
            training.step()?;
            Box::new(move |seconds| train(&mut training, before, seconds))
        }
        Work::PolicyUpdate(what) => {
            let mut updating = Updating::new(what)?;
            Box::new(move |seconds| times_of(seconds, || updating.step()))
        }
        Work::Generate { ref model, weights, prompt, new, time } => {
            generate(model, weights, [prompt, new], time, threads)?
        }
    })
}

/// Text that a model makes again and again, of which one phase is timed.
fn generate(
    model: &Path,
    weights: Weights,
    [prompt, new]: [usize; 2],
    time: Phase,
    threads: usize,
) -> Result<Prepared> {
    let (model, bytes) = generation::open(model, weights)?;
    let numbers = vec![1f32; bytes / 4];
    Ok(Box::new(move |seconds| {
        let mut reads = Vec::new();
        let mut answer = times_of(seconds, || {
            let times = generation::write(&model, CacheKind::Full, prompt, new)?;
            let start = Instant::now();
            std::hint::black_box(sum(&numbers, threads));
            reads.push(start.elapsed());
            Ok(match time {
                Phase::Prefill => times.prefill,
                Phase::Decode => times.decode.iter().sum(),
            })
        })?;
        if time == Phase::Decode {
            // What reading as many bytes as often takes, at the same time on the same machine.
            answer["read_seconds"] = json!((new - 1) as f64 * median(reads));
        }
        Ok(answer)
    }))
}

/// Median seconds of a call, after one that does not count.
fn repeat(seconds: f64, mut call: impl FnMut() -> candle_core::Result<()>) -> Result<Value> {
    times_of(seconds, || {
        let start = Instant::now();
        call()?;
        Ok(start.elapsed())
    })
}

/// The median of the times that calls tell, after one that does not count.
fn times_of(seconds: f64, mut call: impl FnMut() -> Result<Duration>) -> Result<Value> {
    call()?;
    let mut times = Vec::new();
    let start = Instant::now();
    while times.is_empty() || start.elapsed().as_secs_f64() < seconds {
        times.push(call()?);
    }
    Ok(json!({ "calls": times.len(), "seconds": median(times) }))
}

/// Steps of a model in training; `before` is the memory that was in use before it was built.
fn train(training: &mut Training, before: u64, seconds: f64) -> Result<Value> {
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
        "peak_bytes": resident("VmHWM")?.saturating_sub(before),
    }))
}

fn median(mut times: Vec<Duration>) -> f64 {
    times.sort();
    times[times.len() / 2].as_secs_f64()
}
