//! Report at the end of a run: its speed, the step that was kept, and where the models are or how
//! the run is resumed.

use std::path::Path;

use serde_json::{Value, json};

use crate::machine::peak_resident_bytes;
use crate::program::shell_quote;
use crate::run_folder::LAST_MODEL;
use crate::{RunSetup, TrainProgress};

impl RunSetup<'_> {
    /// Prints the end of a run of `part`: its speed, the step that was kept, and the folder of its
    /// `model` in the run folder or how to resume it. With `--json`, the last line is `result` with
    /// the path of that folder.
    pub fn print_report(
        &self,
        part: &str,
        progress: &TrainProgress,
        tokens_per_second: f64,
        model: &str,
        mut result: Value,
    ) {
        match peak_resident_bytes() {
            Some(bytes) => {
                println!("{tokens_per_second:.0} tokens/s, peak memory {} MB", bytes / 1_000_000);
            }
            None => println!("{tokens_per_second:.0} tokens/s"),
        }
        if let Some(summary) = progress.selection.summary() {
            println!("{summary}");
        }
        let (step, total, path) = (progress.step, self.total_steps(), self.out.join(model));
        let solved = self.solved(progress);
        if !self.is_finished(progress) {
            println!("{}", resume_hint(part, step, total, self.out));
        } else {
            if let Some(plateau) = &solved {
                println!("solved at step {step} of {total}: {plateau}");
            } else if step < total && !progress.target_reached {
                let n = progress.selection.n_not_better;
                println!("ended after step {step} of {total}: {n} validations were no better");
            }
            println!("the best {model} is in {}", path.display());
            let last = self.out.join(LAST_MODEL);
            if last.exists() {
                println!("the last one, of step {step}, is in {}", last.display());
            }
        }
        if self.flags.json {
            result[model] = json!(path);
            if !self.settings["stop_when_solved"].is_null() {
                result["solved_step"] = json!(solved.map(|_| step));
            }
            println!("{result}");
        }
    }
}

/// Message about a run of `part` that stopped early, with the command that resumes it.
pub fn resume_hint(part: &str, step: usize, total: usize, out: &Path) -> String {
    format!(
        "stopped and saved after step {step} of {total}; \
         continue with: cargo run -p {part} -- train --resume --out {}",
        shell_quote(out)
    )
}
