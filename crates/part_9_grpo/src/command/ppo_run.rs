//! PPO in the table: a run of part 8's program in a run folder beside the results. Its command line
//! is called, not its library, because the defaults, the prompts, the checks and the choice of the
//! best model are to be those of `part_8 train`.

use std::path::Path;

use anyhow::{Context, Result, ensure};
use candle_core::Device;
use experiment::Interrupt;
use model_io::LoadMode;
use modern::{Checkpoint, GptModern};
use serde_json::Value;
use sft::finetuned::resolve_model_path;

use super::table_arguments::TableArgs;

/// Settings of a run that are not part 8's defaults.
pub(super) struct PpoRun<'a> {
    pub(super) table: &'a TableArgs,
    pub(super) steps: usize,
    pub(super) prompts_per_step: usize,
    pub(super) group_size: usize,
    pub(super) max_new_tokens: usize,
    pub(super) seed: u64,
}

impl PpoRun<'_> {
    /// Runs `part_8 train`, and returns the best model of the run and the number of sampled tokens.
    ///
    /// # Errors
    /// Those of `part_8 train`, and when it was interrupted: its best model so far is not the
    /// result.
    pub(super) fn train(&self, device: &Device) -> Result<(GptModern, usize)> {
        let folder = self.table.out.join(format!("ppo-{}", self.seed));
        let path = folder.to_string_lossy();
        let flags = [
            ("--model", self.table.policy.model.clone()),
            ("--out", path.clone().into_owned()),
            ("--steps", self.steps.to_string()),
            ("--batch-size", self.prompts_per_step.to_string()),
            ("--group-size", self.group_size.to_string()),
            ("--max-new-tokens", self.max_new_tokens.to_string()),
            ("--eval-interval", "0".into()),
            ("--seed", self.seed.to_string()),
            ("--device", self.table.compute.device.to_string()),
        ];
        let flags = flags.into_iter().flat_map(|(flag, value)| [flag.to_string(), value]);
        let interrupt = Interrupt::listen()?;
        ppo::command::parse_and_run(
            ["part_8", "train"].map(String::from).into_iter().chain(flags),
        )?;
        ensure!(!interrupt.is_requested(), "interrupted; the finished rows are saved");
        let best = Checkpoint::open(&resolve_model_path(&path)?, LoadMode::Inference, device)?;
        Ok((best.model, n_sampled_tokens(&folder)?))
    }
}

/// Number of tokens that the run in `folder` has sampled: each row of its log counts those of all
/// steps before it, whether they have a row or not.
pub(crate) fn n_sampled_tokens(folder: &Path) -> Result<usize> {
    let rows = std::fs::read_to_string(folder.join("metrics.jsonl"))?;
    let rows = rows.lines().filter_map(|row| serde_json::from_str::<Value>(row).ok());
    let n_tokens = rows.filter_map(|row| row["tokens"].as_u64()).max();
    n_tokens.map(|n_tokens| n_tokens as usize).context("the run has no row with its tokens")
}
