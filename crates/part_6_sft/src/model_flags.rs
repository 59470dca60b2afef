//! Flags of the model that a run starts from, and of a fine-tuned one, shared with later parts.

use std::num::NonZeroUsize;

use anyhow::Result;
use clap::Args;
use experiment::number::{dropout, positive};
use experiment::program::ensure_usage;
use experiment::settings::SettingsFlags;
use model_io::{LoraConfig, LoraVariant, RankScaling, TargetModules};
use modern::flags::{ChatTemplateFlags, RefusedAdapterFlag, RunChatTemplateFlags};
use serde::Serialize;

use crate::ChatFormat;
use crate::base_model::BaseModelConfig;

/// Model that a run starts from, and the part of its weights that is trained.
#[derive(Debug, Clone, Serialize, Args)]
#[command(next_help_heading = "Model")]
pub struct ModelFlags {
    /// Model folder, .gguf, llama2.c .bin, or owner/name on the Hub [default: pretrain a small one]
    #[arg(long, visible_alias = "model-name-or-path", value_name = "MODEL")]
    pub model: Option<String>,
    /// Chat template [default: the model's own, else instruction]
    #[arg(long, value_enum)]
    pub template: Option<ChatFormat>,
    /// Variables of the model's chat template.
    #[command(flatten)]
    pub chat_template: RunChatTemplateFlags,
    /// LoRA adapters.
    #[command(flatten)]
    pub lora: LoraFlags,
    /// Small base model of a run without `--model`.
    #[command(flatten)]
    pub base: BaseModelFlags,
}

impl ModelFlags {
    /// Takes over the arguments of the chat template of the run that `--model` names, if it is one;
    /// a resumed run has its own.
    ///
    /// # Errors
    /// When the settings of the run cannot be read.
    pub fn inherit_chat_template_args(&mut self, settings: &SettingsFlags) -> Result<()> {
        match &self.model {
            Some(model) => self.chat_template.inherit_args(model, settings),
            None => Ok(()),
        }
    }

    /// Checks that nothing describes the small base model of a run that starts from `--model`;
    /// `sft_steps` is the flag of its fine-tuning, in parts that have it.
    ///
    /// # Errors
    /// A [`UsageError`](experiment::program::UsageError) that names the flag.
    pub fn ensure_base_is_used(&self, sft_steps: Option<usize>) -> Result<()> {
        let Some(model) = &self.model else { return Ok(()) };
        let flag = self.base.given().chain(sft_steps.map(|_| "--sft-steps")).next();
        ensure_usage(
            flag.is_none(),
            format!(
                "{} is for the small model of a run without --model, and this one has --model \
                 {model}",
                flag.unwrap_or_default()
            ),
        )
    }
}

/// Small base model that is pretrained when no model is given.
#[derive(Debug, Clone, Copy, Args, Serialize)]
#[command(next_help_heading = "Model")]
pub struct BaseModelFlags {
    /// Without --model: optimizer steps of pretraining the small base model [default: 150]
    #[arg(long, value_name = "N")]
    pub base_steps: Option<usize>,
    /// Transformer blocks of the small base model [default: 2]
    #[arg(long, value_name = "N")]
    pub n_layer: Option<usize>,
    /// Attention heads per block of the small base model; must divide --n-embd [default: 4]
    #[arg(long, value_name = "N")]
    pub n_head: Option<usize>,
    /// Channels (embedding size) of the small base model [default: 128]
    #[arg(long, value_name = "N")]
    pub n_embd: Option<usize>,
}

impl BaseModelFlags {
    /// Configuration of the base model.
    pub fn config(self) -> BaseModelConfig {
        let default = BaseModelConfig::default();
        BaseModelConfig {
            n_layer: self.n_layer.unwrap_or(default.n_layer),
            n_head: self.n_head.unwrap_or(default.n_head),
            n_embd: self.n_embd.unwrap_or(default.n_embd),
            steps: self.base_steps.unwrap_or(default.steps),
        }
    }

    /// Names of the given flags.
    fn given(self) -> impl Iterator<Item = &'static str> {
        let Self { base_steps, n_layer, n_head, n_embd } = self;
        let flags = [
            ("--base-steps", base_steps),
            ("--n-layer", n_layer),
            ("--n-head", n_head),
            ("--n-embd", n_embd),
        ];
        flags.into_iter().filter(|(_, value)| value.is_some()).map(|(flag, _)| flag)
    }
}

/// LoRA adapters that are trained instead of all weights.
#[derive(Debug, Clone, Serialize, Args)]
#[command(next_help_heading = "Model")]
#[expect(clippy::struct_excessive_bools, reason = "switches of the command line, as in peft")]
pub struct LoraFlags {
    /// LoRA rank R: train adapters beside frozen weights [default: train all weights]
    #[arg(long, visible_alias = "lora-r", value_name = "R")]
    pub lora_rank: Option<NonZeroUsize>,
    /// LoRA α: the update is scaled by α / R [default: 2 R; with --use-rslora 16]
    #[arg(long, value_name = "A", value_parser = positive, requires = "lora_rank")]
    pub lora_alpha: Option<f64>,
    /// Dropout probability before the adapters
    #[arg(long, value_name = "P", default_value_t = 0., value_parser = dropout)]
    pub lora_dropout: f64,
    /// Layers with adapters: all, or ends of layer names such as q_proj,v_proj
    #[arg(long, alias = "lora-layers", value_name = "NAMES", default_value = "all")]
    pub lora_target_modules: String,
    /// Scale the update by α / √R (rsLoRA)
    #[arg(long, requires = "lora_rank")]
    pub use_rslora: bool,
    /// Also train the length of each row of the adapted weights (DoRA)
    #[arg(long, requires = "lora_rank")]
    pub use_dora: bool,
    /// Also save a model with the adapters merged into it at the end of the run
    #[arg(long, requires = "lora_rank")]
    pub merge: bool,
    #[command(flatten)]
    #[serde(skip)]
    refused_adapter: RefusedAdapterFlag,
}

impl LoraFlags {
    /// Checks the combination of flags.
    ///
    /// # Errors
    /// When dropout or target modules are given without a rank, or an adapter is.
    pub fn check(&self) -> Result<()> {
        self.refused_adapter.check()?;
        let is_default = self.lora_dropout == 0. && self.lora_target_modules == "all";
        ensure_usage(
            self.lora_rank.is_some() || is_default,
            "--lora-dropout and --lora-target-modules need adapters: give a --lora-rank",
        )
    }

    /// LoRA configuration, or `None` without a rank.
    pub fn config(&self) -> Option<LoraConfig> {
        let rank = self.lora_rank?.get();
        let target_modules = match self.lora_target_modules.as_str() {
            "all" => TargetModules::All,
            names => {
                TargetModules::Named(names.split(',').map(|name| name.trim().into()).collect())
            }
        };
        let (scaling, default_alpha) = match self.use_rslora {
            true => (RankScaling::RankStabilized, 16.),
            false => (RankScaling::Standard, 2. * rank as f64),
        };
        let alpha = self.lora_alpha.unwrap_or(default_alpha);
        let variant = if self.use_dora { LoraVariant::Dora } else { LoraVariant::Plain };
        let dropout = self.lora_dropout;
        Some(LoraConfig { rank, alpha, scaling, variant, dropout, target_modules })
    }
}

/// Fine-tuned model to open.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Model")]
pub struct FinetunedFlags {
    /// Run folder of `train`, a model as for --model of `train`, or an adapter folder that names
    /// its base model
    #[arg(long, value_name = "MODEL")]
    pub model: String,
    /// LoRA adapter of --model: a folder in the layout of peft, or owner/name on the Hub
    #[arg(long, value_name = "ADAPTER")]
    pub adapter: Option<String>,
    /// Chat template [default: the one in the model's files, else instruction]
    #[arg(long, value_enum)]
    pub template: Option<ChatFormat>,
    /// Variables of the model's chat template.
    #[command(flatten)]
    pub chat_template: ChatTemplateFlags,
}
