//! Arguments of `part_10 train`, and the hyperparameters that they describe.

use std::num::NonZeroUsize;

use anyhow::Result;
use clap::Args;
use experiment::flags::{RunFlags, without_f16};
use experiment::number::probability;
use experiment::program::ensure_usage;
use ppo::policy_checks::ensure_split_of_file;
use reward::flags::{PreferenceFlags, SplitFlags};
use scaling::flags::OptimizationFlags;
use scaling::{DefaultLength, DefaultLr, RunDefaults};
use serde::Serialize;
use sft::model_flags::ModelFlags;
use sft::run_split::GivenSplit;

use crate::flags::{LossFlags, LossName};
use crate::losses::{DpoLoss, LossType};
use crate::online_flags::OnlineFlags;
use crate::sampled::SampledSignal;
use crate::step::TrainConfig;

/// Learning rates without --lr; that of all weights of a pretrained model is TRL's.
const LR: DefaultLr =
    DefaultLr { small: 1e-4, small_lora: 3e-4, pretrained: 1e-6, pretrained_lora: 5e-5 };

/// Steps of fine-tuning the small model on sums without --sft-steps.
pub(super) const SFT_STEPS: usize = 500;

#[derive(Args, Serialize)]
#[command(args_override_self = true, next_help_heading = "Model")]
#[command(mut_arg("model", |arg| arg.help("Initial model, which is fine-tuned already: a run of \
    part 6, a folder, .gguf file or Hub id [default: a small one, trained on sums]")))]
#[command(mut_arg("dtype", without_f16))]
#[command(mut_arg("lr", |arg| arg.help("Peak learning rate [default: 1e-4, or 3e-4 for adapters; \
    from 20 million parameters on 1e-6, or 5e-5 for adapters]")))]
#[command(mut_arg("weight_decay", |arg| arg.default_value("0")))]
#[command(mut_arg("pairs", |arg| arg.default_value("10000")))]
#[command(mut_arg("steps", |arg| arg.help("Number of optimizer steps [default: one epoch, but at \
    least 50, and at most 3000 or, on built-in data, 200]")))]
#[command(mut_arg("batch_size", |arg| arg.help("Pairs per micro-batch [default: 8; 64 for \
    built-in data]")))]
#[command(mut_arg("out", |arg| arg.default_value("runs/dpo")))]
#[command(mut_arg("eval_interval", |arg| arg.help("Steps between validations; 0 validates only at \
    the end [default: half an epoch or a twentieth of the run, whichever is more, but at most 100]"
)))]
pub(crate) struct TrainArgs {
    #[command(flatten)]
    pub(crate) model: ModelFlags,
    /// Without --model: fine-tuning steps of the small model on sums [default: 500]
    #[arg(long, value_name = "N")]
    pub(crate) sft_steps: Option<usize>,
    /// Reference model [default: the initial model]
    #[arg(long, visible_alias = "ref-model", value_name = "MODEL")]
    pub(crate) reference: Option<String>,
    #[command(flatten)]
    pub(crate) data: PreferenceFlags,
    #[command(flatten)]
    pub(crate) split: SplitFlags,
    #[command(flatten)]
    pub(crate) optimization: OptimizationFlags,
    #[command(flatten)]
    pub(crate) loss: LossFlags,
    #[command(flatten)]
    pub(crate) online: OnlineFlags,
    #[command(flatten)]
    pub(crate) run: RunFlags,
    /// Maximum number of validation pairs
    #[arg(long, value_name = "N", default_value = "500", help_heading = "Run")]
    pub(crate) eval_pairs: NonZeroUsize,
    /// Stop when the validation accuracy, by the loss's own score, reaches this value
    #[arg(long, value_name = "P", value_parser = probability, help_heading = "Run")]
    pub(crate) target_accuracy: Option<f64>,
}

impl TrainArgs {
    /// Checks the arguments, as far as they do not depend on the model and the data.
    ///
    /// # Errors
    /// When flags contradict each other.
    pub(crate) fn check(&self) -> Result<()> {
        self.optimization.check()?;
        self.model.lora.check()?;
        self.online.check(self.loss.loss, self.reference.as_deref())?;
        let is_online = self.online.online.is_some();
        let is_file = !self.data.is_built_in();
        ensure_split_of_file(is_file, self.given_split(), &self.run.settings)?;
        ensure_usage(
            !is_online || self.optimization.grad_accum_steps.get() == 1,
            "--grad-accum-steps has no part in --online: a round has --prompts-per-round prompts",
        )?;
        ensure_usage(
            !is_online || self.split.test.is_none(),
            "--test is that of pairs: --online holds out validation problems alone",
        )?;
        self.split.check(&self.data, &self.run.settings)?;
        ensure_usage(
            !is_online || self.target_accuracy.is_none(),
            "--target-accuracy is that of pairs: with --online a run ends with --stop-when-solved",
        )?;
        ensure_usage(
            self.loss.loss != LossName::Sft || self.target_accuracy.is_none(),
            "--target-accuracy is that of a loss of pairs: --loss sft does not compare completions",
        )?;
        ensure_usage(
            self.online.online.is_none_or(|signal| signal == SampledSignal::Pairs)
                || (self.loss.beta.is_none() && self.loss.sft_weight.is_none()),
            "--beta and --sft-weight are those of a preference loss, which only --online pairs has",
        )?;
        ensure_usage(
            self.online.sync_ref.is_none() || self.model.lora.lora_rank.is_none(),
            "--sync-ref: the reference of adapters is the model without them",
        )?;
        let needs_reference = self.loss()?.loss_type.needs_reference();
        ensure_usage(
            needs_reference || self.reference.is_none(),
            "--reference: this loss has no reference",
        )
    }

    /// Split of a run with --online that the flags give.
    pub(crate) fn given_split(&self) -> GivenSplit {
        GivenSplit { validation: self.split.validation, seed: self.online.split_seed }
    }

    /// Loss of the run.
    ///
    /// # Errors
    /// When flags of the loss contradict each other.
    pub(crate) fn loss(&self) -> Result<DpoLoss> {
        let loss = self.loss.config()?;
        Ok(match self.online.online {
            Some(SampledSignal::Best | SampledSignal::Distill) => {
                DpoLoss { loss_type: LossType::Sft, sft_weight: 1., ..loss }
            }
            _ => loss,
        })
    }

    /// Defaults of a run of a model with `n_parameters` parameters on `n_rows` rows.
    pub(crate) fn run_defaults(&self, n_parameters: f64, n_rows: usize) -> RunDefaults {
        let batch_size = self.optimization.batch_size(self.data.default_batch_size());
        let n_batches = n_rows.div_ceil(batch_size) as f64;
        RunDefaults {
            lr: LR.of(n_parameters, self.model.lora.lora_rank),
            steps_per_epoch: self.optimization.steps_per_epoch(n_batches),
            length: DefaultLength {
                epochs: 1.,
                min_steps: 50,
                max_steps: if self.data.is_built_in() { 200 } else { 3000 },
                max_eval_interval: 100,
            },
        }
    }

    /// Defaults of a run on completions of the policy for `n_prompts` prompts.
    pub(crate) fn online_defaults(&self, n_parameters: f64, n_prompts: usize) -> RunDefaults {
        let OnlineFlags { prompts_per_round, steps_per_round, .. } = self.online;
        let steps_per_epoch =
            n_prompts as f64 * steps_per_round.get() as f64 / prompts_per_round.get() as f64;
        RunDefaults { steps_per_epoch, ..self.run_defaults(n_parameters, n_prompts) }
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
            loss: self.loss()?,
            schedule: step.schedule.schedule(defaults)?,
            optimizer: step.optimizer.optimizer_config(),
            max_grad_norm: step.optimizer.max_grad_norm().unwrap_or(f64::MAX),
            seed: self.run.compute.seed,
        })
    }
}
