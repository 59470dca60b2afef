//! Arguments of `part_7 train`, and the hyperparameters that they describe.

use std::num::NonZeroUsize;

use anyhow::{Result, ensure};
use clap::Args;
use experiment::flags::RunFlags;
use experiment::number::probability;
use experiment::program::ensure_usage;
use model_io::ModelConfig;
use model_io::config::PositionEncoding;
use scaling::flags::OptimizationFlags;
use serde::Serialize;
use sft::flags::ModelFlags;

use crate::flags::{LossFlags, PreferenceFlags, SplitFlags};
use crate::{RewardArchitecture, TrainConfig};

#[derive(Args, Serialize)]
#[command(args_override_self = true, next_help_heading = "Model")]
#[command(mut_arg("model", |arg| arg.help("Initial model: a folder, .gguf file or Hub id \
    [default: a small one, trained on sums]")))]
#[command(mut_arg("lr", |arg| arg.default_value("5e-4")))]
#[command(mut_arg("weight_decay", |arg| arg.default_value("0.01")))]
#[command(mut_arg("lr_scheduler", |arg| arg.default_value("warmup_stable_decay")))]
#[command(mut_arg("steps", |arg| arg.default_value("400")))]
#[command(mut_arg("batch_size", |arg| arg.default_value("64").help("Pairs per micro-batch")))]
#[command(mut_arg("merge", |arg| arg.hide(true)))]
#[command(mut_arg("out", |arg| arg.default_value("runs/reward")))]
#[command(mut_arg("eval_interval", |arg| arg.default_value("100")))]
pub(crate) struct TrainArgs {
    #[command(flatten)]
    pub(crate) model: ModelFlags,
    /// Fine-tuning steps of the small model on sums (without --model)
    #[arg(long, value_name = "N", default_value_t = 1500)]
    pub(crate) sft_steps: usize,
    /// Attention mask and pooling [default: causal, or that of the reward model given by --model]
    #[arg(long, value_enum)]
    pub(crate) architecture: Option<RewardArchitecture>,
    /// Context length in tokens; longer texts are truncated on the left [default: the model's]
    #[arg(long, visible_alias = "max-length", alias = "block-size", value_name = "T")]
    pub(crate) context_len: Option<NonZeroUsize>,
    #[command(flatten)]
    pub(crate) data: PreferenceFlags,
    #[command(flatten)]
    pub(crate) split: SplitFlags,
    #[command(flatten)]
    optimization: OptimizationFlags,
    #[command(flatten)]
    loss: LossFlags,
    #[command(flatten)]
    pub(crate) run: RunFlags,
    /// Maximum number of validation pairs
    #[arg(long, value_name = "N", default_value = "500", help_heading = "Run")]
    pub(crate) eval_pairs: NonZeroUsize,
    /// Stop when the validation accuracy reaches this value
    #[arg(
        long, alias = "stop-at", value_name = "P", value_parser = probability, help_heading = "Run"
    )]
    pub(crate) target_accuracy: Option<f64>,
}

impl TrainArgs {
    /// Hyperparameters of the run.
    ///
    /// # Errors
    /// When flags contradict each other.
    pub(crate) fn train_config(&self) -> Result<TrainConfig> {
        let step = &self.optimization;
        step.ensure_f32_without_checkpointing()?;
        self.model.lora.check()?;
        ensure_usage(
            !self.model.lora.merge,
            "--merge is for part 6; this part always merges adapters into the saved model",
        )?;
        Ok(TrainConfig {
            batch_size: step.batch_size.get(),
            grad_accum_steps: step.grad_accum_steps.get(),
            loss: self.loss.config()?,
            schedule: step.schedule.schedule()?,
            optimizer: step.optimizer.adamw_config(),
            max_grad_norm: step.optimizer.max_grad_norm().unwrap_or(f64::MAX),
            seed: self.run.compute.seed,
        })
    }

    /// Model configuration with the context length of `--context-len`.
    ///
    /// # Errors
    /// When the model does not allow it.
    pub(crate) fn backbone_config(&self, config: &ModelConfig) -> Result<ModelConfig> {
        let Some(context_len) = self.context_len.map(|n| n.get()) else { return Ok(*config) };
        let has_learned_positions = config.attention.position == PositionEncoding::Learned;
        ensure!(
            context_len <= config.context_len && !has_learned_positions,
            "--context-len {context_len}: the model's context is {} tokens{}",
            config.context_len,
            if has_learned_positions {
                "; it has learned position embeddings, so this cannot be changed"
            } else {
                ""
            }
        );
        Ok(ModelConfig { context_len, ..*config })
    }
}
