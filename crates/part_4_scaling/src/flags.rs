//! The flags of a run that is left alone, for this part and later ones. Each is a setting too: of the effective ones
//! (`config.json`), of a YAML file, of `--set`.

use std::num::NonZeroUsize;

use anyhow::{Result, ensure};
use candle_core::DType;
use clap::{Args, ValueEnum};
use serde::Serialize;
use tiny_gpt::command::as_usage_error;
use tiny_gpt::flags::{ComputeFlags, OptimizerFlags, SamplingFlags, non_negative, positive};

use crate::LrSchedule;
use crate::schedule::DecayShape;
use crate::settings::SettingsFlags;
use crate::tracker::TrackerKind;
use crate::training::Intervals;

/// What a model computes in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Precision {
    /// 32 bits
    F32,
    /// 16 bits with the range of f32
    Bf16,
    /// 16 bits with more digits and little range: the loss is scaled
    F16,
}

impl Precision {
    /// The type of its numbers.
    pub fn dtype(self) -> DType {
        match self {
            Self::F32 => DType::F32,
            Self::Bf16 => DType::BF16,
            Self::F16 => DType::F16,
        }
    }
}

/// The learning rate over the run.
#[derive(Debug, Clone, Copy, Serialize, Args)]
pub struct ScheduleFlags {
    /// Optimizer steps
    #[arg(
        long,
        visible_alias = "max-steps",
        alias = "num-train-steps",
        value_name = "N",
        default_value = "1000"
    )]
    pub steps: NonZeroUsize,
    /// Highest learning rate
    #[arg(long, visible_alias = "learning-rate", value_name = "X", default_value_t = 3e-3, allow_negative_numbers = true, value_parser = positive)]
    pub lr: f64,
    /// Rate of the last step [default: a tenth of --lr]
    #[arg(long, value_name = "X", allow_negative_numbers = true, value_parser = non_negative)]
    pub min_lr: Option<f64>,
    /// Steps until the highest rate [default: a twentieth of --steps]
    #[arg(long, value_name = "N")]
    pub warmup_steps: Option<usize>,
    /// What then becomes of it
    #[arg(long, visible_alias = "lr-scheduler-type", alias = "lr-decay", value_enum, default_value_t = DecayShape::Cosine)]
    pub lr_scheduler: DecayShape,
}

impl ScheduleFlags {
    /// The schedule they describe.
    ///
    /// # Errors
    /// A [`UsageError`](tiny_gpt::command::UsageError) when the floor lies above the peak, or the warm-up is longer than the
    /// run.
    pub fn schedule(&self) -> Result<LrSchedule> {
        let (peak, total) = (self.lr, self.steps.get());
        let floor = self.min_lr.unwrap_or(peak / 10.);
        let warmup = self.warmup_steps.unwrap_or(total / 20);
        as_usage_error((|| {
            ensure!(floor <= peak, "--min-lr {floor} is above --lr {peak}");
            ensure!(warmup <= total, "--warmup-steps {warmup} are more than --steps {total}");
            Ok(())
        })())?;
        Ok(LrSchedule {
            peak_lr: peak,
            min_lr: floor,
            warmup_steps: warmup,
            total_steps: total,
            decay: self.lr_scheduler,
        })
    }
}

/// How a step is computed.
#[derive(Debug, Clone, Copy, Serialize, Args)]
pub struct StepFlags {
    /// Windows of text whose gradient is computed at a time
    #[arg(
        long,
        visible_alias = "per-device-train-batch-size",
        value_name = "N",
        default_value = "16"
    )]
    pub batch_size: NonZeroUsize,
    /// Such batches per step
    #[arg(
        long,
        visible_alias = "gradient-accumulation-steps",
        alias = "accumulate",
        value_name = "N",
        default_value = "1"
    )]
    pub grad_accum_steps: NonZeroUsize,
    /// What the model computes in; weights and optimizer are f32
    #[arg(long, value_enum, default_value_t = Precision::F32)]
    pub dtype: Precision,
    /// Keep only each block's input for the gradient and compute the rest again: less memory, a third more time
    #[arg(long, alias = "recompute")]
    pub gradient_checkpointing: bool,
    /// How gradients become steps.
    #[command(flatten)]
    #[serde(flatten)]
    pub optimizer: OptimizerFlags,
}

impl StepFlags {
    /// For parts that keep all in f32.
    ///
    /// # Errors
    /// A [`UsageError`](tiny_gpt::command::UsageError) when something else is wanted.
    pub fn ensure_f32_without_checkpointing(&self) -> Result<()> {
        as_usage_error((|| {
            ensure!(self.dtype == Precision::F32, "--dtype: this part trains in f32");
            ensure!(
                !self.gradient_checkpointing,
                "--gradient-checkpointing: this part keeps what the gradient needs"
            );
            Ok(())
        })())
    }
}

/// What is saved, and when the run stops early.
#[derive(Debug, Clone, Copy, Serialize, Args)]
pub struct SaveFlags {
    /// Steps between two checkpoints; 0 for one at the end
    #[arg(
        long,
        visible_alias = "save-steps",
        alias = "save-every",
        value_name = "N",
        default_value_t = 200
    )]
    pub save_interval: usize,
    /// Checkpoints kept
    #[arg(
        long,
        visible_alias = "save-total-limit",
        alias = "keep",
        value_name = "N",
        default_value = "2"
    )]
    pub keep_checkpoints: NonZeroUsize,
    /// Save and stop after this many steps in all; --resume goes on
    #[arg(long, value_name = "N")]
    pub stop_after: Option<NonZeroUsize>,
}

/// Where figures go, and how often.
#[derive(Debug, Clone, Copy, Serialize, Args)]
pub struct MetricsFlags {
    /// Steps between two rows of figures
    #[arg(
        long,
        visible_alias = "logging-steps",
        alias = "log-every",
        value_name = "N",
        default_value = "10"
    )]
    pub log_interval: NonZeroUsize,
    /// Whose files the figures go to, beside metrics.jsonl
    #[arg(long, visible_alias = "report-to", alias = "log", value_enum, default_value_t = TrackerKind::Tensorboard)]
    pub tracker: TrackerKind,
}

/// What is seen of a run.
#[derive(Debug, Clone, Copy, Serialize, Args)]
pub struct LogFlags {
    /// Its figures.
    #[command(flatten)]
    #[serde(flatten)]
    pub metrics: MetricsFlags,
    /// Steps between two looks at the held-out documents; 0 for one at the end
    #[arg(
        long,
        visible_alias = "eval-steps",
        alias = "eval-every",
        value_name = "N",
        default_value_t = 200
    )]
    pub eval_interval: usize,
    /// Most windows of these that are looked at
    #[arg(long, value_name = "N", default_value = "200")]
    pub eval_windows: NonZeroUsize,
    /// Steps between two samples; 0 for one at the end
    #[arg(long, value_name = "N", default_value_t = 200)]
    pub sample_interval: usize,
    /// Length of a sample in tokens
    #[arg(long, alias = "sample-tokens", value_name = "N", default_value_t = 128)]
    pub sample_len: usize,
    /// How the samples are drawn.
    #[command(flatten)]
    #[serde(flatten)]
    pub sampling: SamplingFlags,
}

/// What every run is told beside what it computes.
#[derive(Debug, Clone, Serialize, Args)]
pub struct RunFlags {
    /// What is saved.
    #[command(flatten)]
    #[serde(flatten)]
    pub save: SaveFlags,
    /// Where is computed.
    #[command(flatten)]
    #[serde(flatten)]
    pub compute: ComputeFlags,
    /// Where more settings come from; they are settings of a start and not of the run.
    #[command(flatten)]
    #[serde(skip)]
    pub settings: SettingsFlags,
    /// Print the result as a JSON object on the last line
    #[arg(long)]
    pub json: bool,
}

impl LogFlags {
    /// How often what is done, with checkpoints as in `save`.
    pub fn intervals(&self, save: &SaveFlags) -> Intervals {
        Intervals {
            eval: self.eval_interval,
            save: save.save_interval,
            sample: self.sample_interval,
        }
    }
}
