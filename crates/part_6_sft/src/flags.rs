//! Flags of fine-tuning, shared with later parts.

use std::num::NonZeroUsize;
use std::path::Path;

use anyhow::{Result, bail};
use clap::Args;
use datasets::arithmetic_questions::DemonstrationStyle;
use datasets::{AssistantTurns, DatasetFlags, Example, ExampleColumns, Splits};
use experiment::RunFolder;
use experiment::number::{dropout, fraction, positive};
use experiment::program::{as_usage_error, ensure_usage};
use model_io::{LoraConfig, LoraVariant, RankScaling, TargetModules};
use modern::flags::{ChatTemplateFlags, RefusedAdapterFlag, RunChatTemplateFlags};
use serde::Serialize;

use crate::base_model::BaseModelConfig;
use crate::{ChatFormat, SftSource};

/// Data set of a training run or an evaluation.
#[derive(Debug, Clone, Serialize, Args)]
#[command(next_help_heading = "Data")]
pub struct DataFlags {
    /// arithmetic, everyday, a file (.json or .jsonl, .gz too, or .parquet), a folder of them,
    /// owner/name or owner/name:file.jsonl on the Hub, or a mixture: a.jsonl=0.7,b.jsonl=0.3
    #[arg(
        long, visible_aliases = ["dataset", "dataset-name"], value_name = "DATA",
        default_value = "arithmetic"
    )]
    pub data: String,
    /// Configuration and split.
    #[command(flatten)]
    pub dataset: DatasetFlags,
    /// Column map: prompt=A,completion=B, messages=A, text=A or instruction=A,input=B,output=C
    /// [default: detect those of OpenAI, ShareGPT, alpaca, Dolly, TRL, GSM8K, or `text`]
    #[arg(long, value_name = "MAP")]
    pub columns: Option<String>,
}

impl DataFlags {
    /// Data source, and its column map if one is given.
    ///
    /// # Errors
    /// When `--columns` is malformed or given for built-in data, or the data cannot be downloaded.
    pub fn open_source(&self) -> Result<(SftSource, Option<ExampleColumns>)> {
        let columns =
            as_usage_error(self.columns.as_deref().map(ExampleColumns::parse).transpose())?;
        let built_in = SftSource::built_in(&self.data);
        ensure_usage(
            columns.is_none() || built_in.is_none(),
            format!("--columns is for files; --data {} is built in", self.data),
        )?;
        if built_in.is_some() {
            as_usage_error(self.dataset.ensure_unused(&self.data))?;
        }
        let source = match built_in {
            Some(source) => source,
            None => match self.dataset.open_mixture(&self.data, |name| self.open(name))? {
                Some(mixture) => SftSource::Mixture(mixture),
                None => self.open(&self.data)?,
            },
        };
        Ok((source, columns))
    }

    /// Source of rows called `name`.
    fn open(&self, name: &str) -> Result<SftSource> {
        match SftSource::built_in(name) {
            Some(SftSource::Arithmetic) => bail!("arithmetic has no rows to mix: it is generated"),
            Some(built_in) => Ok(built_in),
            None => Ok(SftSource::Files(self.dataset.locate(name)?)),
        }
    }

    /// Examples of `source` to evaluate `model` on: held-out sums, or a file's rows. If `model` is
    /// a run folder, or a model in one, and the run was trained on this data, only the rows that it
    /// held out, and a message says so.
    ///
    /// # Errors
    /// When the data or the settings of the run cannot be read.
    pub fn load_eval_examples(
        &self,
        model: &str,
        (source, columns): (SftSource, Option<ExampleColumns>),
    ) -> Result<Vec<Example>> {
        let folder = Path::new(model);
        let in_run = ["model", "adapter"].iter().any(|name| folder.ends_with(name));
        let folder = folder.parent().filter(|_| in_run).unwrap_or(folder);
        let run = RunFolder::read_settings(folder)?.filter(|run| {
            source != SftSource::Arithmetic && self.dataset.is_data_of(run, &self.data)
        });
        let last_turns = run.as_ref().is_some_and(|run| run["assistant_turns"] != "all");
        let split = run.and_then(|run| run["validation"].as_f64().zip(run["seed"].as_u64()));
        let Some((validation, seed)) = split else {
            return source.load_eval_examples(columns.as_ref());
        };
        println!("the validation rows of the run's data; it was trained on the others");
        let style = DemonstrationStyle::Clean;
        let splits = source.load_dataset(columns.as_ref(), 1, style, validation, seed)?;
        let mut examples = splits.validation;
        if last_turns {
            learn_last_turns(examples.iter_mut());
        }
        Ok(examples)
    }

    /// Default maximum completion length in tokens: enough for a number, or for a few sentences.
    pub fn default_max_new_tokens(&self) -> usize {
        if self.data == "arithmetic" { 8 } else { 64 }
    }
}

/// Size of the training set and of the validation split.
#[derive(Debug, Clone, Copy, Serialize, Args)]
#[command(next_help_heading = "Data")]
pub struct ExampleFlags {
    /// Number of arithmetic demonstrations
    #[arg(long, value_name = "N", default_value = "200000")]
    pub examples: NonZeroUsize,
    /// Share of a file's rows in the validation split
    #[arg(long, value_name = "P", default_value_t = 0.1, value_parser = fraction)]
    pub validation: f64,
    /// Turns of the assistant in the loss
    #[arg(long, value_enum, default_value_t = AssistantTurns::All)]
    pub assistant_turns: AssistantTurns,
}

impl ExampleFlags {
    /// Training and validation examples; arithmetic demonstrations have the given `style`.
    ///
    /// # Errors
    /// Those of [`SftSource::load_dataset`].
    pub fn load_dataset(
        &self,
        (source, columns): (SftSource, Option<ExampleColumns>),
        style: DemonstrationStyle,
        seed: u64,
    ) -> Result<Splits<Example>> {
        let n = self.examples.get();
        let mut splits = source.load_dataset(columns.as_ref(), n, style, self.validation, seed)?;
        if self.assistant_turns == AssistantTurns::Last {
            learn_last_turns(splits.train.iter_mut().chain(&mut splits.validation));
        }
        Ok(splits)
    }
}

fn learn_last_turns<'a>(examples: impl Iterator<Item = &'a mut Example>) {
    examples.for_each(|example| example.assistant_turns = AssistantTurns::Last);
}

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

impl ModelFlags {
    /// Takes over the arguments of the chat template of the run that `--model` names, if it is one.
    ///
    /// # Errors
    /// When the settings of the run cannot be read.
    pub fn inherit_chat_template_args(&mut self) -> Result<()> {
        match &self.model {
            Some(model) => self.chat_template.inherit_args(model),
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
