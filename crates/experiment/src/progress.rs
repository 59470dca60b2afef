//! Progress of long-running work: a progress bar on a terminal, plain lines elsewhere.

use std::io::{IsTerminal, stderr};
use std::time::{Duration, Instant};

use anyhow::Result;
use indicatif::{ProgressBar, ProgressStyle};

/// Interval of the lines that are printed without a terminal.
const LINE_INTERVAL: Duration = Duration::from_secs(5);

/// Progress of a run of known length, on stderr. Other output goes to stdout, above the bar.
pub struct ProgressLine {
    display: Display,
    steps: usize,
    /// Number of steps done before a resume.
    start_step: usize,
    start: Instant,
    last_line: Instant,
    tokens: usize,
}

/// Place of the progress.
enum Display {
    /// On a terminal.
    Bar(ProgressBar),
    /// A line every few seconds.
    Lines,
    /// Not at all.
    Hidden,
}

impl ProgressLine {
    /// Progress line of a run of `steps` steps.
    ///
    /// # Errors
    /// Never in practice: the bar's template is fixed.
    pub fn new(steps: usize) -> Result<Self> {
        Self::resume_from(steps, 0)
    }

    /// Progress line of a resumed run, with `start_step` of its `steps` already done.
    ///
    /// # Errors
    /// Never in practice: the bar's template is fixed.
    pub fn resume_from(steps: usize, start_step: usize) -> Result<Self> {
        let mut display = Display::Lines;
        if stderr().is_terminal() {
            let bar = ProgressBar::new(steps as u64);
            // A narrow terminal truncates the message, so that it stays on one line.
            let template = "{bar:12} {pos}/{len}  {eta} left  {wide_msg}";
            bar.set_position(start_step as u64);
            bar.reset_eta();
            bar.set_style(ProgressStyle::with_template(template)?);
            display = Display::Bar(bar);
        }
        let now = Instant::now();
        Ok(Self { display, steps, start_step, start: now, last_line: now, tokens: 0 })
    }

    /// Shows nothing from now on.
    pub fn hide(&mut self) {
        if let Display::Bar(bar) = std::mem::replace(&mut self.display, Display::Hidden) {
            bar.finish_and_clear();
        }
    }

    /// Advances to `done` steps, the last of which processed `tokens`, and shows `metrics`.
    pub fn update(&mut self, done: usize, metrics: &str, tokens: usize) {
        self.tokens += tokens;
        let message = format!("{metrics}  {:.0} tokens/s", self.tokens_per_second());
        match &self.display {
            Display::Bar(bar) => {
                bar.set_message(message);
                bar.set_position(done as u64);
            }
            Display::Lines if done == self.steps || self.last_line.elapsed() >= LINE_INTERVAL => {
                let seconds_per_step =
                    self.start.elapsed().as_secs_f64() / (done - self.start_step).max(1) as f64;
                let left = seconds_per_step * self.steps.saturating_sub(done) as f64;
                eprintln!("step {done}/{}  {message}  {left:.0} s left", self.steps);
                self.last_line = Instant::now();
            }
            Display::Lines | Display::Hidden => {}
        }
    }

    /// Seconds since the start, without those of suspended work.
    pub fn seconds(&self) -> f64 {
        self.start.elapsed().as_secs_f64()
    }

    /// Tokens processed per second since the start, without the time of suspended work.
    pub fn tokens_per_second(&self) -> f64 {
        self.tokens as f64 / self.start.elapsed().as_secs_f64().max(1e-9)
    }

    /// Runs `work` that is not a step (a sample, an evaluation): the bar is hidden while it prints,
    /// and its time does not count.
    pub fn suspend<R>(&mut self, work: impl FnOnce() -> R) -> R {
        let begin = Instant::now();
        let result = match &self.display {
            Display::Bar(bar) => bar.suspend(work),
            Display::Lines | Display::Hidden => work(),
        };
        self.start += begin.elapsed();
        result
    }
}

impl Drop for ProgressLine {
    fn drop(&mut self) {
        if let Display::Bar(bar) = &self.display {
            bar.finish_and_clear();
        }
    }
}

/// Progress bar of `task` over `bytes` bytes of text, on stderr; without a terminal, one line.
///
/// # Errors
/// Never in practice: the bar's template is fixed.
pub fn byte_progress_bar(bytes: usize, task: &'static str) -> Result<ProgressBar> {
    if !stderr().is_terminal() {
        eprintln!("{task} {bytes} bytes");
        return Ok(ProgressBar::hidden());
    }
    let style = ProgressStyle::with_template("{bar:12} {bytes}/{total_bytes}  {wide_msg}")?;
    Ok(ProgressBar::new(bytes as u64).with_style(style).with_message(task))
}

/// Stopwatch for the phases of a step.
#[derive(Debug)]
pub struct Stopwatch(Instant);

impl Stopwatch {
    /// Starts it.
    pub fn start() -> Self {
        Self(Instant::now())
    }

    /// Seconds since the start or the last lap.
    pub fn lap(&mut self) -> f64 {
        std::mem::replace(&mut self.0, Instant::now()).elapsed().as_secs_f64()
    }
}
