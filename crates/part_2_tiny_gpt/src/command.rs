//! What the parts' command lines share: flags that mean the same everywhere, and errors as one readable line.
//!
//! Exit code 0 means done, 2 an error that the arguments alone decide, 1 any other.

use std::fmt;
use std::num::NonZeroUsize;
use std::process::ExitCode;

use anyhow::{Result, ensure};
use candle_core::Device;
use clap::error::ErrorKind;
use clap::{Args, Parser};
use tensor_core::DeviceChoice;
use tensor_core::allocator::keep_freed_memory;
use tensor_core::threads::set_threads;

use crate::{GptConfig, Sampling};

/// An error that the arguments alone decide: exit code 2.
#[derive(Debug)]
pub struct UsageError(String);

impl fmt::Display for UsageError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for UsageError {}

/// Marks `result`'s error as one that the arguments alone decide.
pub fn usage<T, E: fmt::Display>(result: std::result::Result<T, E>) -> Result<T> {
    result.map_err(|error| UsageError(error.to_string()).into())
}

/// Parses the command line into `A`, runs `main` with it, and tells an error in one line.
pub fn run<A: Parser>(main: impl FnOnce(A) -> Result<()>) -> ExitCode {
    let args = match A::try_parse() {
        Ok(args) => args,
        Err(error) => return refuse(&error),
    };
    match main(args) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) if broken_pipe(&error) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {}", one_line(&error));
            ExitCode::from(if error.is::<UsageError>() { 2 } else { 1 })
        }
    }
}

/// The error and its causes; of each the first line, since candle appends a backtrace where those are switched on.
fn one_line(error: &anyhow::Error) -> String {
    let mut causes: Vec<String> = Vec::new();
    for cause in error.chain() {
        let text = cause.to_string();
        let line = text.lines().next().unwrap_or_default();
        if causes.last().is_none_or(|last| !last.ends_with(line)) {
            causes.push(line.to_string());
        }
    }
    causes.join(": ")
}

/// clap's message on one line; help and version as clap prints them.
fn refuse(error: &clap::Error) -> ExitCode {
    if matches!(
        error.kind(),
        ErrorKind::DisplayHelp
            | ErrorKind::DisplayVersion
            | ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand
    ) {
        let _ = error.print(); // nobody is left to tell if the terminal is gone
        return ExitCode::from(error.exit_code() as u8);
    }
    let text = error.render().to_string();
    let said = text.lines().map(str::trim).take_while(|line| !line.starts_with("Usage:"));
    let said: Vec<&str> =
        said.filter(|line| !line.is_empty() && !line.starts_with("For more")).collect();
    eprintln!("{} (see --help)", said.join(" "));
    ExitCode::from(2)
}

/// Whether the reader of our output went away (`part_2 sample | head`), which is no error.
fn broken_pipe(error: &anyhow::Error) -> bool {
    error
        .downcast_ref::<std::io::Error>()
        .is_some_and(|error| error.kind() == std::io::ErrorKind::BrokenPipe)
}

/// Where and how a command computes.
#[derive(Debug, Clone, Args)]
pub struct ComputeFlags {
    /// Device: auto, cpu, cuda or cuda:N
    #[arg(long, default_value_t)]
    pub device: DeviceChoice,
    /// CPU threads [default: one per core]
    #[arg(long, value_name = "N")]
    pub threads: Option<NonZeroUsize>,
    /// Seed of all randomness
    #[arg(long, value_name = "N", default_value_t = 1337)]
    pub seed: u64,
}

impl ComputeFlags {
    /// Sets the threads and opens the device; first thing in `main`.
    pub fn open(&self) -> Result<Device> {
        keep_freed_memory();
        set_threads(self.threads)?;
        Ok(self.device.open()?)
    }
}

/// The sizes of a new model.
#[derive(Debug, Clone, Copy, Args)]
pub struct SizeFlags {
    /// Transformer blocks
    #[arg(long, value_name = "N", default_value_t = 4)]
    pub n_layer: usize,
    /// Attention heads per block; must divide --n-embd
    #[arg(long, value_name = "N", default_value_t = 4)]
    pub n_head: usize,
    /// Channels of a token
    #[arg(long, value_name = "N", default_value_t = 256)]
    pub n_embd: usize,
    /// Longest text the model sees, in tokens
    #[arg(long, value_name = "N", default_value_t = 256)]
    pub block_size: usize,
    /// Probability of dropout while training
    #[arg(long, value_name = "P", default_value_t = 0., allow_negative_numbers = true, value_parser = dropout)]
    pub dropout: f64,
}

impl SizeFlags {
    /// The byte-level model of these sizes.
    ///
    /// # Errors
    /// A [`UsageError`] when a size is 0 or the heads do not divide the channels.
    pub fn config(&self) -> Result<GptConfig> {
        usage(self.checked())
    }

    fn checked(&self) -> Result<GptConfig> {
        let Self { n_layer, n_head, n_embd, block_size, dropout } = *self;
        ensure!(n_layer > 0 && block_size > 0, "--n-layer and --block-size must be at least 1");
        let mut config = GptConfig::bytes(block_size, n_layer, n_head, n_embd);
        config.block.dropout = dropout;
        config.block.check()?;
        Ok(config)
    }
}

/// How tokens are drawn.
#[derive(Debug, Clone, Copy, Args)]
pub struct SamplingFlags {
    /// Below 1 likelier tokens, above 1 wilder ones, 0 always the best
    #[arg(long, value_name = "T", default_value_t = 1., allow_negative_numbers = true, value_parser = temperature)]
    pub temperature: f64,
    /// Draw from the K best tokens
    #[arg(long, value_name = "K", default_value = "50")]
    pub top_k: NonZeroUsize,
    /// Draw from the fewest tokens that hold the share P
    #[arg(long, value_name = "P", allow_negative_numbers = true, value_parser = share)]
    pub top_p: Option<f64>,
}

impl SamplingFlags {
    /// The sampling they describe.
    pub fn sampling(&self) -> Sampling {
        Sampling::new(self.temperature, Some(self.top_k.get()), self.top_p)
    }
}

fn number(text: &str) -> Result<f64, String> {
    let number: f64 = text.parse().map_err(|_| "not a number".to_string())?;
    if number.is_finite() { Ok(number) } else { Err("not a finite number".into()) }
}

fn in_range(text: &str, range: impl Fn(f64) -> bool, what: &str) -> Result<f64, String> {
    let number = number(text)?;
    if range(number) { Ok(number) } else { Err(what.into()) }
}

/// A temperature: 0 or more.
pub fn temperature(text: &str) -> Result<f64, String> {
    in_range(text, |t| t >= 0., "must be 0 (greedy) or above")
}

/// A share above 0, at most 1.
pub fn share(text: &str) -> Result<f64, String> {
    in_range(text, |p| p > 0. && p <= 1., "must be above 0 and at most 1")
}

/// A probability of dropout: at least 0, below 1.
pub fn dropout(text: &str) -> Result<f64, String> {
    in_range(text, |p| (0. ..1.).contains(&p), "must be at least 0 and below 1")
}

/// The decay of a moving average: at least 0, below 1.
pub fn memory(text: &str) -> Result<f64, String> {
    dropout(text)
}

/// A positive number.
pub fn positive(text: &str) -> Result<f64, String> {
    in_range(text, |x| x > 0., "must be above 0")
}

/// A number of 0 or more.
pub fn non_negative(text: &str) -> Result<f64, String> {
    in_range(text, |x| x >= 0., "must be 0 or above")
}
