//! End of a run: whether it is over, the folder of its last model, and its report, which has its
//! speed, the step that was kept, and where the models are or how the run is resumed.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use crate::machine::peak_resident_bytes;
use crate::program::shell_quote;
use crate::run_folder::LAST_MODEL;
use crate::{Plateau, RunSetup, TrainProgress};

impl RunSetup<'_> {
    /// True if the run is over.
    pub fn is_finished(&self, progress: &TrainProgress) -> bool {
        progress.is_finished(self.total_steps(), self.patience(), self.stop_when_solved())
    }

    /// Plateau of the rewards that ended the run, if one did.
    fn final_plateau(&self, progress: &TrainProgress) -> Option<Plateau> {
        progress.final_plateau(self.stop_when_solved())
    }

    /// Checks, after the last step, that a model was kept.
    ///
    /// # Errors
    /// When no validation had a finite score.
    pub fn ensure_model_kept(&self, progress: &TrainProgress) -> Result<()> {
        ensure!(
            !self.is_finished(progress) || progress.selection.best.is_some(),
            "no model was saved: every validation had a score that is not finite"
        );
        Ok(())
    }

    /// Folder for the last model of the run, `final/`, if the run is over and that model is not the
    /// best, which has a folder of its own. One from an earlier end of the run is removed.
    ///
    /// # Errors
    /// When it cannot be removed.
    pub fn last_model_folder(&self, progress: &TrainProgress) -> Result<Option<PathBuf>> {
        let folder = self.out.join(LAST_MODEL);
        if !self.is_finished(progress) {
            return Ok(None);
        }
        if folder.exists() {
            fs::remove_dir_all(&folder)
                .with_context(|| format!("removing {}", folder.display()))?;
        }
        Ok((!progress.is_best()).then_some(folder))
    }

    /// Folder of the kept `model` of the run, if one was kept.
    pub fn saved_folder(&self, model: &str) -> Option<PathBuf> {
        Some(self.out.join(model)).filter(|folder| folder.is_dir())
    }

    /// Prints the end of a run of `part`: its speed, the step that was kept, and the folder of its
    /// `model` in the run folder or how to resume it. With `--json`, the last line is `result` with
    /// the path of that folder, or null if no model was kept.
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
        let plateau = self.final_plateau(progress);
        if !self.is_finished(progress) {
            println!("{}", resume_hint(part, step, total, self.out));
        } else {
            if let Some(plateau) = &plateau {
                println!("{}", plateau.end_message(step, total));
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
            result[model] = json!(self.saved_folder(model));
            if !self.settings["stop_when_solved"].is_null() {
                let solved = plateau.filter(Plateau::is_solved);
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
