//! Arguments of `part_7 train`, and the hyperparameters that they describe.

use std::num::NonZeroUsize;

use anyhow::{Result, ensure};
use clap::Args;
use experiment::flags::{RunFlags, without_f16};
use experiment::number::{dropout, probability};
use experiment::program::ensure_usage;
use model_io::ModelConfig;
use model_io::config::PositionEncoding;
use scaling::flags::OptimizationFlags;
use scaling::{DefaultLength, DefaultLr, RunDefaults};
use serde::Serialize;
use sft::model_flags::ModelFlags;

use crate::flags::{LossFlags, PreferenceFlags, SplitFlags};
use crate::{RewardArchitecture, TrainConfig};

/// Learning rates without --lr; that of a pretrained model is TRL's.
const LR: DefaultLr =
    DefaultLr { small: 5e-4, small_lora: 1e-3, pretrained: 1e-4, pretrained_lora: 3e-4 };

#[derive(Args, Serialize)]
#[command(args_override_self = true, next_help_heading = "Model")]
#[command(mut_arg("model", |arg| arg.help("Initial model: a folder, .gguf file or Hub id \
    [default: a small one, trained on sums]")))]
#[command(mut_arg("dtype", without_f16))]
#[command(mut_arg("lr", |arg| arg.help("Peak learning rate [default: 5e-4, or 0.001 for adapters; \
    from 20 million parameters on 1e-4, or 3e-4 for adapters]")))]
#[command(mut_arg("weight_decay", |arg| arg.default_value("0.01")))]
#[command(mut_arg("lr_scheduler", |arg| arg.default_value("warmup_stable_decay")))]
#[command(mut_arg("steps", |arg| arg.help("Number of optimizer steps [default: three epochs, but \
    at least 50, and at most 3000 or, on built-in data, 400]")))]
#[command(mut_arg("batch_size", |arg| arg.help("Pairs per micro-batch [default: 8; 64 for \
    built-in data]")))]
#[command(mut_arg("merge", |arg| arg.hide(true)))]
#[command(mut_arg("out", |arg| arg.default_value("runs/reward")))]
#[command(mut_arg("eval_interval", |arg| arg.help("Steps between validations; 0 validates only at \
    the end [default: half an epoch or a twentieth of the run, whichever is more, but at most 100]"
)))]
pub(crate) struct TrainArgs {
    #[command(flatten)]
    pub(crate) model: ModelFlags,
    /// Without --model: fine-tuning steps of the small model on sums [default: 1500]
    #[arg(long, value_name = "N")]
    pub(crate) sft_steps: Option<usize>,
    /// Attention mask and pooling [default: causal, or that of the reward model given by --model]
    #[arg(long, value_enum)]
    pub(crate) architecture: Option<RewardArchitecture>,
    /// Context length in tokens; longer texts are truncated on the left [default: the model's]
    #[arg(long, visible_alias = "max-length", alias = "block-size", value_name = "T")]
    pub(crate) context_len: Option<NonZeroUsize>,
    /// Dropout probability after the embedding and after each layer, in training
    #[arg(long, value_name = "P", default_value_t = 0., value_parser = dropout)]
    pub(crate) dropout: f64,
    #[command(flatten)]
    pub(crate) data: PreferenceFlags,
    #[command(flatten)]
    pub(crate) split: SplitFlags,
    #[command(flatten)]
    pub(crate) optimization: OptimizationFlags,
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
    /// Checks the arguments, as far as they do not depend on the model and the data.
    ///
    /// # Errors
    /// When flags contradict each other.
    pub(crate) fn check(&self) -> Result<()> {
        self.optimization.check()?;
        self.loss.config()?;
        self.model.lora.check()?;
        self.split.check(&self.data, &self.run.settings)?;
        ensure_usage(
            !self.model.lora.merge,
            "--merge is for part 6; this part always merges adapters into the saved model",
        )
    }

    /// Defaults of a run of a model with `n_parameters` parameters on `n_pairs` pairs.
    pub(crate) fn run_defaults(&self, n_parameters: f64, n_pairs: usize) -> RunDefaults {
        let batch_size = self.optimization.batch_size(self.data.default_batch_size());
        let n_batches = n_pairs.div_ceil(batch_size) as f64;
        RunDefaults {
            lr: LR.of(n_parameters, self.model.lora.lora_rank),
            steps_per_epoch: self.optimization.steps_per_epoch(n_batches),
            length: DefaultLength {
                epochs: 3.,
                min_steps: 50,
                max_steps: if self.data.is_built_in() { 400 } else { 3000 },
                max_eval_interval: 100,
            },
        }
    }

    /// Hyperparameters of the run.
    ///
    /// # Errors
    /// When flags contradict each other.
    pub(crate) fn train_config(&self, defaults: &RunDefaults) -> Result<TrainConfig> {
        let step = &self.optimization;
        Ok(TrainConfig {
            batch_size: step.batch_size(self.data.default_batch_size()),
            grad_accum_steps: step.grad_accum_steps.get(),
            loss: self.loss.config()?,
            schedule: step.schedule.schedule(defaults)?,
            optimizer: step.optimizer.optimizer_config(),
            max_grad_norm: step.optimizer.max_grad_norm().unwrap_or(f64::MAX),
            seed: self.run.compute.seed,
        })
    }

    /// Model configuration with the context length of `--context-len`. A model of learned positions
    /// keeps its own; only the texts are truncated.
    ///
    /// # Errors
    /// When the model's context is shorter.
    pub(crate) fn backbone_config(&self, config: &ModelConfig) -> Result<ModelConfig> {
        let Some(context_len) = self.context_len.map(|n| n.get()) else { return Ok(*config) };
        let has_learned_positions =
            matches!(config.attention.position, PositionEncoding::Learned { .. });
        ensure!(
            context_len <= config.context_len,
            "--context-len {context_len}: the model's context is {} tokens",
            config.context_len
        );
        let context_len = if has_learned_positions { config.context_len } else { context_len };
        Ok(ModelConfig { context_len, ..*config })
    }
}
