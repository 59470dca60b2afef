//! Our side of `cargo x compare`: reads one request per line, runs the benchmark, and writes one
//! line of JSON. `python/worker.py` does the same in PyTorch.

use std::io::{BufRead, Write, stdin, stdout};
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use benches::generation::{self, Weights};
use benches::memory::{parallel_sum, process_memory};
use benches::operation::{Implementation, Operation};
use benches::policy_update::{PolicyUpdate, PolicyUpdater};
use benches::train_step::{Times, TrainStep, Training};
use benches::work;
use candle_core::{DType, Device};
use clap::Parser;
use modern::CacheKind;
use serde::Deserialize;
use serde_json::{Value, json};
use tensor_core::allocator::keep_freed_memory;
use tensor_core::{DeviceChoice, Rng, ops};

#[global_allocator]
static ALLOCATOR: tensor_core::allocator::MiMalloc = tensor_core::allocator::MiMalloc;

/// Run the benchmarks requested as lines of JSON on standard input
#[derive(Parser)]
struct Arguments {
    /// Print the list of benchmarks as JSON and exit
    #[arg(long)]
    list: bool,
    /// Also list generation with the model in this .gguf file
    #[arg(long, value_name = "FILE", requires = "list")]
    model: Option<PathBuf>,
    /// Number of CPU threads
    #[arg(long, default_value = "2")]
    threads: NonZeroUsize,
    /// Number format of the training steps
    #[arg(long, default_value = "f32", value_name = "f32|bf16")]
    dtype: DType,
    /// Device of the training steps: auto, cpu, cuda or cuda:N
    #[arg(long, default_value = "cpu")]
    device: DeviceChoice,
}

#[derive(Deserialize)]
struct Request {
    /// Minimum duration of the timed calls.
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
    TrainStep(TrainStep),
    PolicyUpdate(PolicyUpdate),
    Read { bytes: usize },
    Generate { model: PathBuf, weights: Weights, prompt: usize, new: usize, time: Phase },
}

/// Timed phase of generation.
#[derive(PartialEq, Clone, Copy, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Phase {
    Prefill,
    Decode,
}

/// A prepared benchmark: runs for the given number of seconds and returns the response.
type Benchmark = Box<dyn FnMut(f64) -> Result<Value>>;

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    if arguments.list {
        println!("{}", serde_json::to_string(&work::all(arguments.model.as_deref())?)?);
        return Ok(());
    }
    keep_freed_memory();
    let threads = tensor_core::threads::set_num_threads(Some(arguments.threads))?;
    let training = (arguments.dtype, arguments.device.open()?);
    println!("{}", json!({ "ready": true, "threads": threads }));
    let mut latest = None;
    for line in stdin().lock().lines() {
        let response = line
            .context("reading a request")
            .and_then(|line| Ok(serde_json::from_str(&line)?))
            .and_then(|request| respond(request, &mut latest, threads, &training))
            .unwrap_or_else(|error| json!({ "error": format!("{error:#}") }));
        println!("{response}");
        stdout().flush()?;
    }
    Ok(())
}

/// Runs a request. The prepared benchmark of the latest request is reused if the work is the same.
fn respond(
    Request { seconds, work }: Request,
    latest: &mut Option<(Work, Benchmark)>,
    threads: usize,
    training: &(DType, Device),
) -> Result<Value> {
    let (work, mut benchmark) = match latest.take() {
        Some((latest, benchmark)) if latest == work => (latest, benchmark),
        other => {
            drop(other); // frees its model before the next one is built
            let benchmark = prepare(&work, threads, training)?;
            (work, benchmark)
        }
    };
    let response = benchmark(seconds)?;
    *latest = Some((work, benchmark));
    Ok(response)
}

fn prepare(work: &Work, threads: usize, (dtype, device): &(DType, Device)) -> Result<Benchmark> {
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
                    std::hint::black_box(parallel_sum(&numbers, threads));
                    Ok(())
                })
            })
        }
        Work::Attention { shape, backward } => {
            let attention = Operation::attention(shape)?;
            Box::new(move |seconds| {
                repeat(seconds, || match backward {
                    true => attention.forward_backward(Implementation::Fused).map(drop),
                    false => attention.forward(Implementation::Fused).map(drop),
                })
            })
        }
        Work::Op { ref op, ref shape } => {
            let operation = Operation::new(op, shape)?;
            let operation =
                operation.with_context(|| format!("no operation `{op}` of shape {shape:?}"))?;
            Box::new(move |seconds| {
                repeat(seconds, || operation.forward_backward(Implementation::Fused).map(drop))
            })
        }
        Work::TrainStep(step) => {
            let memory_before = process_memory("VmRSS")?;
            let mut training = Training::new(step, *dtype, device)?;
            training.step()?;
            training.step()?;
            Box::new(move |seconds| train(&mut training, memory_before, seconds))
        }
        Work::PolicyUpdate(sizes) => {
            let mut updater = PolicyUpdater::new(sizes)?;
            Box::new(move |seconds| median_time(seconds, || updater.step()))
        }
        Work::Generate { ref model, weights, prompt, new, time } => {
            generate(model, weights, [prompt, new], time, threads)?
        }
    })
}

/// Benchmark of one phase of generation.
fn generate(
    model: &Path,
    weights: Weights,
    [prompt, new]: [usize; 2],
    time: Phase,
    threads: usize,
) -> Result<Benchmark> {
    let (model, bytes) = generation::open(model, weights)?;
    let numbers = vec![1f32; bytes / 4];
    Ok(Box::new(move |seconds| {
        let mut read_times = Vec::new();
        let mut response = median_time(seconds, || {
            let times = generation::time_generation(&model, CacheKind::Full, prompt, new)?;
            let start = Instant::now();
            std::hint::black_box(parallel_sum(&numbers, threads));
            read_times.push(start.elapsed());
            Ok(match time {
                Phase::Prefill => times.prefill,
                Phase::Decode => times.decode.iter().sum(),
            })
        })?;
        if time == Phase::Decode {
            // Lower bound: the time to read the weights once per token, measured in turn with it.
            response["read_seconds"] = json!((new - 1) as f64 * median(read_times));
        }
        Ok(response)
    }))
}

/// Median duration of a call in seconds, after one untimed call.
fn repeat(seconds: f64, mut call: impl FnMut() -> candle_core::Result<()>) -> Result<Value> {
    median_time(seconds, || {
        let start = Instant::now();
        call()?;
        Ok(start.elapsed())
    })
}

/// Median of the durations that `call` returns, after one untimed call.
fn median_time(seconds: f64, mut call: impl FnMut() -> Result<Duration>) -> Result<Value> {
    call()?;
    let mut times = Vec::new();
    let start = Instant::now();
    while times.is_empty() || start.elapsed().as_secs_f64() < seconds {
        times.push(call()?);
    }
    Ok(json!({ "calls": times.len(), "seconds": median(times) }))
}

/// Times training steps. `memory_before` is the memory in use before the model was built.
fn train(training: &mut Training, memory_before: u64, seconds: f64) -> Result<Value> {
    let mut step_times: Vec<Times> = Vec::new();
    let start = Instant::now();
    let mut loss = f32::NAN;
    while step_times.len() < 3 || start.elapsed().as_secs_f64() < seconds {
        let (this_loss, times) = training.step()?;
        loss = this_loss;
        step_times.push(times);
    }
    let median_of = |phase: fn(&Times) -> Duration| median(step_times.iter().map(phase).collect());
    Ok(json!({
        "steps": step_times.len(),
        "seconds": median_of(|times| times.step),
        "forward": median_of(|times| times.forward),
        "backward": median_of(|times| times.backward),
        "loss": loss,
        "peak_bytes": process_memory("VmHWM")?.saturating_sub(memory_before),
    }))
}

fn median(mut times: Vec<Duration>) -> f64 {
    times.sort();
    times[times.len() / 2].as_secs_f64()
}
