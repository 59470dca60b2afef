//! Command-line flags that have the same meaning in every part. From part 4 on, each flag is also a
//! setting: a key of `config.json`, of a YAML file (`--config`) and of `--set`.

use std::num::NonZeroUsize;
use std::path::PathBuf;

use anyhow::Result;
use candle_core::Device;
use clap::{Args, ValueEnum};
use ranks::Ranks;
use serde::Serialize;
use tensor_core::allocator::keep_freed_memory;
use tensor_core::threads::set_num_threads;
use tensor_core::{AdamWConfig, DeviceChoice, MomentFormat, MuonConfig, OptimizerConfig};

use crate::number::{beta, non_negative};
pub use crate::precision::{Precision, without_f16};
use crate::settings::SettingsFlags;
use crate::tracker::TrackerFlags;
use crate::usage_error::as_usage_error;

/// Names in TRL's configurations of the settings that have another name here, in every part that
/// has the setting. A name may stand on the command line and in a settings file.
pub const TRL_NAMES: [(&str, &str); 31] = [
    ("output_dir", "out"),
    ("logging_steps", "log_interval"),
    ("eval_steps", "eval_interval"),
    ("save_steps", "save_interval"),
    ("save_total_limit", "keep_checkpoints"),
    ("report_to", "tracker"),
    ("early_stopping_patience", "patience"),
    ("model_name_or_path", "model"),
    ("dataset_name", "data"),
    ("dataset_train_split", "split"),
    ("dataset_test_split", "eval_split"),
    ("max_length", "context_len"),
    ("max_seq_length", "max_length"),
    ("max_steps", "steps"),
    ("num_train_epochs", "epochs"),
    ("learning_rate", "lr"),
    ("adam_beta2", "beta2"),
    ("gradient_accumulation_steps", "grad_accum_steps"),
    ("lora_r", "lora_rank"),
    ("beta", "kl_coef"),
    ("num_generations", "group_size"),
    ("max_completion_length", "max_new_tokens"),
    ("epsilon", "clip_range"),
    ("epsilon_high", "clip_range_high"),
    ("loss_type", "loss_aggregation"),
    ("num_ppo_epochs", "ppo_epochs"),
    ("num_mini_batches", "num_minibatches"),
    ("cliprange_value", "value_clip_range"),
    ("vf_coef", "value_coef"),
    ("target_kl", "early_stop_kl"),
    ("lam", "gae_lambda"),
];

/// Compute flags: device, CPU threads and seed.
#[derive(Debug, Clone, Serialize, Args)]
#[command(next_help_heading = "Run")]
pub struct ComputeFlags {
    /// Device: auto, cpu, cuda or cuda:N
    #[arg(long, default_value_t)]
    pub device: DeviceChoice,
    /// CPU threads [default: one per core]
    #[arg(long, value_name = "N")]
    pub threads: Option<NonZeroUsize>,
    /// Random seed
    #[arg(long, value_name = "N", default_value_t = 1337)]
    pub seed: u64,
}

impl ComputeFlags {
    /// Sets the number of threads and opens the device, where several ranks of a host have a GPU
    /// each. Call it first in `main`.
    pub fn open_device(&self) -> Result<Device> {
        keep_freed_memory();
        as_usage_error(set_num_threads(self.threads))?;
        let ranks = Ranks::of_process()?;
        let device = self.device.open_on(ranks.local_rank())?;
        ranks.ensure_same(&device.is_cuda(), "kind of device (--device)")?;
        Ok(device)
    }
}

/// Optimizer; those of AdamW in transformers' names.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ValueEnum)]
#[serde(rename_all = "snake_case")]
#[value(rename_all = "snake_case")]
pub enum Optim {
    /// AdamW
    #[value(alias = "adamw_torch")]
    #[value(name = "adamw")]
    #[serde(rename = "adamw")]
    AdamW,
    /// AdamW with moments in 8 bits: a quarter of their memory
    #[value(name = "adamw_8bit", aliases = ["adamw-8bit", "adamw_bnb_8bit"])]
    #[serde(rename = "adamw_8bit")]
    AdamW8Bit,
    /// Muon for the hidden matrices, with one moment; AdamW for embeddings, output layer, heads,
    /// norms, biases and LoRA adapters
    Muon,
}

/// Optimizer flags: optimizer, AdamW's β₂, weight decay, and gradient clipping.
#[derive(Debug, Clone, Copy, Serialize, Args)]
#[command(next_help_heading = "Optimization")]
pub struct OptimizerFlags {
    /// Optimizer
    #[arg(long, alias = "optimizer", value_enum, default_value_t = Optim::AdamW)]
    pub optim: Optim,
    /// AdamW β₂ (raise it for small, noisy batches)
    #[arg(
        long, visible_alias = "adam-beta2", value_name = "X", default_value_t = 0.99,
        value_parser = beta
    )]
    pub beta2: f64,
    /// Weight decay, applied to matrices only
    #[arg(long, value_name = "X", default_value_t = 0.1, value_parser = non_negative)]
    pub weight_decay: f64,
    /// Maximum gradient norm; 0 disables clipping
    #[arg(
        long, visible_alias = "grad-clip", value_name = "X", default_value_t = 1.,
        value_parser = non_negative
    )]
    pub max_grad_norm: f64,
}

impl OptimizerFlags {
    /// Configuration of the optimizer with these flags, AdamW's default β₁ and ε, and Muon's
    /// default momentum.
    pub fn optimizer_config(&self) -> OptimizerConfig {
        let Self { beta2, weight_decay, .. } = *self;
        let adamw = AdamWConfig { beta2, weight_decay, ..AdamWConfig::default() };
        match self.optim {
            Optim::AdamW => adamw.into(),
            Optim::AdamW8Bit => {
                AdamWConfig { moments: MomentFormat::Blockwise8Bit, ..adamw }.into()
            }
            Optim::Muon => OptimizerConfig::Muon(MuonConfig { adamw, ..MuonConfig::default() }),
        }
    }

    /// Maximum gradient norm; `None` without clipping.
    pub fn max_grad_norm(&self) -> Option<f64> {
        (self.max_grad_norm > 0.).then_some(self.max_grad_norm)
    }
}

/// Flags of checkpoints, and of an early stop.
#[derive(Debug, Clone, Copy, Serialize, Args)]
#[command(next_help_heading = "Run")]
pub struct SaveFlags {
    /// Steps between checkpoints, of which there is also one every five minutes; 0 saves only at
    /// the end
    #[arg(
        long,
        visible_alias = "save-steps",
        alias = "save-every",
        value_name = "N",
        default_value_t = 200
    )]
    pub save_interval: usize,
    /// Number of checkpoints to keep
    #[arg(
        long,
        visible_alias = "save-total-limit",
        alias = "keep",
        value_name = "N",
        default_value = "2"
    )]
    pub keep_checkpoints: NonZeroUsize,
    /// Save and stop after this many steps in total; continue with --resume
    #[arg(long, value_name = "N")]
    pub stop_after: Option<NonZeroUsize>,
}

/// Flags of the metrics: intervals of validations and of rows.
#[derive(Debug, Clone, Copy, Serialize, Args)]
#[command(next_help_heading = "Run")]
pub struct MetricsFlags {
    /// Steps between validations; 0 validates only at the end [default: half an epoch or a
    /// twentieth of the run, whichever is more, but at most 200]
    #[arg(long, visible_alias = "eval-steps", alias = "eval-every", value_name = "N")]
    pub eval_interval: Option<usize>,
    /// Stop when N validations in a row are no better than an earlier one [default: never]
    #[arg(long, visible_alias = "early-stopping-patience", value_name = "N")]
    pub patience: Option<NonZeroUsize>,
    /// Steps between logged rows of metrics
    #[arg(
        long,
        visible_alias = "logging-steps",
        alias = "log-every",
        value_name = "N",
        default_value = "10"
    )]
    pub log_interval: NonZeroUsize,
}

/// Flag of the end of a run on the completions of a policy.
#[derive(Debug, Clone, Copy, Serialize, Args)]
#[command(next_help_heading = "Run")]
pub struct SolvedFlags {
    /// Stop as solved after N steps in a row, and 300 completions, that all get the highest reward;
    /// where that is not known, stop at the highest of the run, but not as solved; 0: never
    #[arg(long, value_name = "N", default_value_t = 10)]
    pub stop_when_solved: usize,
}

/// Flags of every run: folder, sources of settings, metrics, checkpoints, device and seed. Each
/// part has its own default of `--out`.
#[derive(Debug, Clone, Serialize, Args)]
#[command(next_help_heading = "Run")]
pub struct RunFlags {
    /// Run folder: settings, metrics, checkpoints and the best model
    #[arg(long, visible_alias = "output-dir", value_name = "DIR", default_value = "runs/run")]
    pub out: PathBuf,
    /// Sources of settings. They belong to one start, so they are not saved with the run.
    #[command(flatten)]
    #[serde(skip)]
    pub settings: SettingsFlags,
    /// Flags of the metrics.
    #[command(flatten)]
    pub metrics: MetricsFlags,
    /// Flags of the tracker.
    #[command(flatten)]
    pub tracker: TrackerFlags,
    /// Flags of checkpoints.
    #[command(flatten)]
    pub save: SaveFlags,
    /// Flags of the device, threads and seed.
    #[command(flatten)]
    pub compute: ComputeFlags,
    /// Print the result as a JSON object on the last line
    #[arg(long)]
    pub json: bool,
}
