//! Progress of long work: a moving bar on a terminal, plain lines elsewhere.

use std::io::{IsTerminal, stderr};
use std::time::{Duration, Instant};

use anyhow::Result;
use indicatif::{ProgressBar, ProgressStyle};

/// Without a terminal, a line appears this often.
const LINE_INTERVAL: Duration = Duration::from_secs(5);

/// The progress of a run of known length, on stderr; what is printed meanwhile goes to stdout, above the bar.
pub struct ProgressLine {
    bar: Option<ProgressBar>,
    steps: usize,
    /// Those that were done before.
    start_step: usize,
    start: Instant,
    last_line: Instant,
    tokens: usize,
}

impl ProgressLine {
    /// The progress of `steps` steps.
    ///
    /// # Errors
    /// Never in practice: the bar's template is fixed.
    pub fn new(steps: usize) -> Result<Self> {
        Self::resume_from(steps, 0)
    }

    /// Progress line of a resumed run, `before` of whose `steps` are done.
    ///
    /// # Errors
    /// Never in practice: the bar's template is fixed.
    pub fn resume_from(steps: usize, before: usize) -> Result<Self> {
        let bar = stderr().is_terminal().then(|| ProgressBar::new(steps as u64));
        if let Some(bar) = &bar {
            // A narrow terminal cuts the figures off, and the line stays one.
            let template = "{bar:12} {pos}/{len}  {eta} left  {wide_msg}";
            bar.set_position(before as u64);
            bar.reset_eta();
            bar.set_style(ProgressStyle::with_template(template)?);
        }
        let now = Instant::now();
        Ok(Self { bar, steps, start_step: before, start: now, last_line: now, tokens: 0 })
    }

    /// Another step is done: it had `loss` and took in `tokens`.
    pub fn update(&mut self, step: usize, loss: f32, tokens: usize) {
        self.update_with_message(step, &format!("loss {loss:.4}"), tokens);
    }

    /// Advances to `step`, which read `tokens`, and shows `figures` in place of the loss.
    pub fn update_with_message(&mut self, step: usize, figures: &str, tokens: usize) {
        self.tokens += tokens;
        let message = format!("{figures}  {:.0} tokens/s", self.tokens_per_second());
        let done = step + 1;
        match &self.bar {
            Some(bar) => {
                bar.set_message(message);
                bar.set_position(done as u64);
            }
            None if done == self.steps || self.last_line.elapsed() >= LINE_INTERVAL => {
                let each =
                    self.start.elapsed().as_secs_f64() / (done - self.start_step).max(1) as f64;
                let left = each * (self.steps - done) as f64;
                eprintln!("step {done}/{}  {message}  {left:.0} s left", self.steps);
                self.last_line = Instant::now();
            }
            None => {}
        }
    }

    /// Tokens taken in per second since the start, pauses left out.
    pub fn tokens_per_second(&self) -> f64 {
        self.tokens as f64 / self.start.elapsed().as_secs_f64().max(1e-9)
    }

    /// Runs `work` that is not a step (a sample, an evaluation): the bar makes room for its output,
    /// and its time does not count.
    pub fn suspend<R>(&mut self, work: impl FnOnce() -> R) -> R {
        let begin = Instant::now();
        let result = match &self.bar {
            Some(bar) => bar.suspend(work),
            None => work(),
        };
        self.start += begin.elapsed();
        result
    }
}

impl Drop for ProgressLine {
    fn drop(&mut self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}
