//! Methods that `part_10 table` compares: the program of each, its flags, and the noisy model that
//! it starts from.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use clap::ValueEnum;
use grpo::results_table::plateau;
use serde_json::Value;

/// Command line of a part in this process.
pub(super) type Program = fn(Vec<OsString>) -> Result<()>;

/// Row of the table.
#[derive(Debug, Clone, Copy, PartialEq, ValueEnum)]
pub(super) enum Method {
    /// DPO on given pairs
    Dpo,
    /// DPO on given pairs with β 0.5
    DpoBeta,
    /// DPO on given pairs with β 0.5 and an SFT weight of 0.2
    DpoSft,
    /// Cross-entropy of the right answers of these pairs alone
    Sft,
    /// Pairs of the policy's own completions
    Iterated,
    /// The best of its own completions
    Rejection,
    /// Part 9
    Grpo,
    /// Distillation from GRPO's model
    Distilled,
    /// Distillation from the teacher's probabilities of the sampled tokens alone
    DistilledSampled,
    /// Distillation into a model of one layer
    DistilledOneLayer,
    /// Part 8
    Ppo,
}

/// Noisy model that a run starts from.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum InitialModel {
    /// Part 6's model.
    TwoLayers,
    /// Model of one layer, trained alike.
    OneLayer,
}

impl InitialModel {
    /// Folder of the noisy model of `seed`.
    pub(super) fn folder(self, out: &Path, seed: u64) -> PathBuf {
        match self {
            Self::TwoLayers => out.join(format!("noisy-{seed}")),
            Self::OneLayer => out.join(format!("noisy-one-layer-{seed}")),
        }
    }

    /// Flags of its base model.
    pub(super) fn flags(self) -> &'static str {
        match self {
            Self::TwoLayers => "",
            Self::OneLayer => "--n-layer 1",
        }
    }
}

impl Method {
    /// All methods; [`Self::Grpo`] comes before its students.
    pub(super) fn all() -> &'static [Self] {
        Self::value_variants()
    }

    /// Name in the table.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Dpo => "DPO on given pairs",
            Self::DpoBeta => "the same, β 0.5",
            Self::DpoSft => "the same, β 0.5 and SFT weight 0.2",
            Self::Sft => "SFT on their right answers",
            Self::Iterated => "iterated DPO",
            Self::Rejection => "rejection sampling",
            Self::Grpo => "GRPO",
            Self::Distilled => "distillation from GRPO's model",
            Self::DistilledSampled => "the same, sampled tokens alone",
            Self::DistilledOneLayer => "distillation into one layer",
            Self::Ppo => "PPO",
        }
    }

    /// Folder of the run of `seed`.
    pub(super) fn folder(self, out: &Path, seed: u64) -> PathBuf {
        let name = self.to_possible_value().map_or_else(String::new, |v| v.get_name().to_string());
        out.join(format!("{name}-{seed}"))
    }

    /// Model that its runs start from.
    pub(super) fn initial_model(self) -> InitialModel {
        match self {
            Self::DistilledOneLayer => InitialModel::OneLayer,
            _ => InitialModel::TwoLayers,
        }
    }

    /// True if it learns from GRPO's model.
    pub(super) fn has_teacher(self) -> bool {
        matches!(self, Self::Distilled | Self::DistilledSampled | Self::DistilledOneLayer)
    }

    /// Program that trains with this method; `part_10` is this one.
    pub(super) fn program(self, part_10: Program) -> Program {
        match self {
            Self::Grpo => grpo::command::parse_and_run,
            Self::Ppo => ppo::command::parse_and_run,
            _ => part_10,
        }
    }

    /// Its flags beside those of every run, for `steps` steps of the sampling methods.
    pub(super) fn flags(self, steps: usize) -> String {
        let sampling = format!("--prompts-per-round 64 --group-size 16 --steps {steps}");
        let distill = "--online distill --prompts-per-round 64 --group-size 4";
        // A sixteenth of the completions: a teacher says more about each.
        let quarter = steps.div_ceil(4);
        match self {
            Self::Dpo => String::new(),
            Self::DpoBeta => "--beta 0.5".into(),
            Self::DpoSft => "--beta 0.5 --sft-weight 0.2".into(),
            Self::Sft => "--loss sft".into(),
            Self::Iterated => format!("--online pairs {sampling}"),
            Self::Rejection => format!("--online best {sampling}"),
            Self::Distilled => format!("{distill} --steps {quarter} --lr 5e-4"),
            Self::DistilledSampled => {
                format!("{distill} --divergence sampled --steps {quarter} --lr 1e-3")
            }
            // It begins with fewer right answers than its teacher did.
            Self::DistilledOneLayer => format!("{distill} --steps {steps} --lr 5e-4"),
            Self::Grpo => format!(
                "--batch-size 64 --group-size 16 --steps {steps} --kl-coef 0.03 \
                 --kl-estimator k3-weighted --max-new-tokens 8"
            ),
            Self::Ppo => {
                format!("--batch-size 64 --group-size 16 --steps {steps} --max-new-tokens 8")
            }
        }
    }

    /// Number of tokens that the run in `folder` has sampled, and the share of its steps after
    /// which its mean reward no longer grows. The rows of parts 8 and 9 have the tokens of all
    /// steps so far, those of this part those of a round.
    pub(super) fn tokens_and_plateau(self, folder: &Path) -> Result<(usize, Option<f64>)> {
        let rows = std::fs::read_to_string(folder.join("metrics.jsonl"))?;
        let rows = rows.lines().filter_map(|row| serde_json::from_str::<Value>(row).ok());
        let rows: Vec<Value> = rows.collect();
        let n_tokens = match self {
            Self::Grpo | Self::Ppo => rows.iter().filter_map(|row| row["tokens"].as_u64()).max(),
            _ => Some(rows.iter().filter_map(|row| row["sampled_tokens"].as_u64()).sum()),
        };
        let rewards: Vec<f64> = rows.iter().filter_map(|row| row["reward_mean"].as_f64()).collect();
        let n_tokens = n_tokens.context("the run has no row with its tokens")?;
        Ok((n_tokens as usize, plateau(&rewards)))
    }
}
