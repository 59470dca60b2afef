//! Flags of fine-tuning, for this part and later ones.

use std::num::NonZeroUsize;
use std::path::PathBuf;

use anyhow::{Result, anyhow};
use clap::Args;
use serde::Serialize;
use tiny_gpt::command::as_usage_error;
use tiny_gpt::flags::{dropout, positive, probability};

use crate::arithmetic_questions::DemonstrationStyle;
use crate::base_model::BaseModelConfig;
use crate::source::SftDataset;
use crate::{ChatFormat, ExampleColumns, LoraConfig, SftSource, TargetModules};

/// What is learned from, or measured on.
#[derive(Debug, Clone, Serialize, Args)]
pub struct DataFlags {
    /// arithmetic, everyday, a .json or .jsonl file (perhaps .gz), or owner/name:file.jsonl on the Hub
    #[arg(long, visible_alias = "dataset", value_name = "DATA", default_value = "arithmetic")]
    pub data: String,
    /// Which columns hold what, as instruction=A,input=B,output=C or prompt=A,completion=B or messages=A [default: by those names]
    #[arg(long, value_name = "MAP")]
    pub columns: Option<String>,
}

impl DataFlags {
    /// Where the examples come from, and how they are laid out.
    ///
    /// # Errors
    /// When the columns are no map, or the data cannot be downloaded.
    pub fn open_source(&self) -> Result<(SftSource, Option<ExampleColumns>)> {
        let columns =
            as_usage_error(self.columns.as_deref().map(ExampleColumns::parse).transpose())?;
        let named = ["arithmetic", "everyday"].contains(&self.data.as_str());
        as_usage_error(if columns.is_some() && named {
            Err(anyhow!("--columns is for files; --data {} has none", self.data))
        } else {
            Ok(())
        })?;
        Ok((SftSource::from_name(&self.data)?, columns))
    }

    /// The longest answer, in tokens, where nothing is said: a number's, or a few sentences'.
    pub fn default_max_new_tokens(&self) -> usize {
        if self.data == "arithmetic" { 8 } else { 64 }
    }
}

/// What of it is learned from.
#[derive(Debug, Clone, Copy, Serialize, Args)]
pub struct ExampleFlags {
    /// Demonstrations of arithmetic that are drawn
    #[arg(long, value_name = "N", default_value = "200000")]
    pub examples: NonZeroUsize,
    /// Share of a file's rows that is kept for validation
    #[arg(
        long, value_name = "P", default_value_t = 0.1, allow_negative_numbers = true,
        value_parser = fraction
    )]
    pub validation: f64,
}

impl ExampleFlags {
    /// Examples to learn from and to decide by; answers to arithmetic are given as in `demos`.
    ///
    /// # Errors
    /// As [`SftSource::load_dataset`].
    pub fn load_dataset(
        &self,
        data: &DataFlags,
        demos: DemonstrationStyle,
        seed: u64,
    ) -> Result<SftDataset> {
        let (source, columns) = data.open_source()?;
        source.load_dataset(columns.as_ref(), (self.examples.get(), demos), self.validation, seed)
    }
}

/// Which adapters are trained instead of the model.
#[derive(Debug, Clone, Serialize, Args)]
pub struct LoraFlags {
    /// Train adapters of this rank beside frozen weights [default: train all weights]
    #[arg(long, visible_alias = "lora-r", value_name = "R")]
    pub lora_rank: Option<NonZeroUsize>,
    /// What they add is scaled by this over the rank [default: twice the rank]
    #[arg(long, value_name = "A", value_parser = positive, requires = "lora_rank")]
    pub lora_alpha: Option<f64>,
    /// Probability of dropout before them
    #[arg(
        long, value_name = "P", default_value_t = 0., allow_negative_numbers = true,
        value_parser = dropout
    )]
    pub lora_dropout: f64,
    /// The layers that get one: all, or the ends of names, such as q_proj,v_proj
    #[arg(long, alias = "lora-layers", value_name = "NAMES", default_value = "all")]
    pub lora_target_modules: String,
    /// At the end, also save a model with the adapters merged into it
    #[arg(long, requires = "lora_rank")]
    pub merge: bool,
}

impl LoraFlags {
    /// # Errors
    /// When there is no adapter for what they say.
    pub fn check(&self) -> Result<()> {
        let plain = self.lora_dropout == 0. && self.lora_target_modules == "all";
        as_usage_error(match self.lora_rank.is_some() || plain {
            true => Ok(()),
            false => {
                Err("--lora-dropout and --lora-target-modules are for adapters: give a --lora-rank")
            }
        })
    }

    /// The adapters they describe.
    pub fn config(&self) -> Option<LoraConfig> {
        let rank = self.lora_rank?.get();
        let layers = match self.lora_target_modules.as_str() {
            "all" => TargetModules::All,
            names => {
                TargetModules::Named(names.split(',').map(|name| name.trim().into()).collect())
            }
        };
        let alpha = self.lora_alpha.unwrap_or(2. * rank as f64);
        Some(LoraConfig { rank, alpha, dropout: self.lora_dropout, target_modules: layers })
    }
}

/// The base model that is pretrained where none is given.
#[derive(Debug, Clone, Copy, Args, Serialize)]
pub struct BaseModelFlags {
    /// Without --model: optimizer steps of pretraining a small one
    #[arg(long, value_name = "N", default_value_t = 150)]
    pub base_steps: usize,
    /// Its transformer blocks
    #[arg(long, value_name = "N", default_value_t = 2)]
    pub n_layer: usize,
    /// Its attention heads per block; must divide --n-embd
    #[arg(long, value_name = "N", default_value_t = 4)]
    pub n_head: usize,
    /// Its channels of a token
    #[arg(long, value_name = "N", default_value_t = 128)]
    pub n_embd: usize,
}

impl BaseModelFlags {
    /// The sizes they describe.
    pub fn config(self) -> BaseModelConfig {
        let Self { base_steps: steps, n_layer, n_head, n_embd } = self;
        BaseModelConfig { n_layer, n_head, n_embd, steps }
    }
}

/// A model that was tuned.
#[derive(Debug, Clone, Args)]
pub struct FinetunedFlags {
    /// A run folder of `train`, or a model as --model of `train` takes it
    #[arg(long, value_name = "MODEL")]
    pub model: String,
    /// An adapter for it, in peft's layout
    #[arg(long, value_name = "DIR")]
    pub adapter: Option<PathBuf>,
    /// How conversations are written [default: as the model's files say, else instruction]
    #[arg(long, value_enum)]
    pub template: Option<ChatFormat>,
}

/// A share above 0 and below 1.
///
/// # Errors
/// When it is none.
pub fn fraction(text: &str) -> Result<f64, String> {
    probability(text).and_then(|p| if p < 1. { Ok(p) } else { Err("must be below 1".into()) })
}
