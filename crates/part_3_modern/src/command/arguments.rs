//! Arguments of part 3's commands.

use std::num::NonZeroUsize;
use std::path::PathBuf;

use anyhow::Result;
use attention::sinusoidal_positions;
use candle_core::DType;
use clap::{Args, ValueEnum, value_parser};
use experiment::flags::ComputeFlags;
use experiment::program::{as_usage_error, ensure_usage};
use model_io::config::{LayerWindow, Mlp, NormKind, PositionEncoding};
use model_io::{ModelConfig, TensorNames};
use tensor_core::Parameters;
use tensor_core::ops::Gelu;
use tiny_gpt::command::train::TextTrainArgs;
use tiny_gpt::flags::ModelSizeFlags;

use crate::GptModern;
use crate::flags::{
    ChatTemplateFlags, ModelFlags, PromptLookupFlags, SamplerFlags, WindowFlags, byte_level_config,
};

#[derive(Args)]
#[command(mut_arg("n_kv_head", |arg| arg.help("Key-value heads of the four query heads \
    [default: 2]")))]
#[command(mut_arg("window", |arg| arg.help("Sliding window of the training and of the long text \
    [default: none, and 64 with 4 sinks]")))]
pub(crate) struct DemoArgs {
    /// Training steps
    #[arg(long, value_name = "N", default_value = "400")]
    pub(crate) steps: NonZeroUsize,
    /// Tokens of the long text
    #[arg(
        long, value_name = "N", default_value_t = 2_000,
        value_parser = value_parser!(u64).range(400..)
    )]
    pub(crate) tokens: u64,
    #[command(flatten)]
    pub(crate) architecture: ArchitectureFlags,
    #[command(flatten)]
    pub(crate) compute: ComputeFlags,
}

/// Normalization before each layer.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub(crate) enum NormChoice {
    /// RMSNorm
    Rms,
    /// LayerNorm, as in GPT-2
    Layer,
}

/// Position encoding.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub(crate) enum PositionChoice {
    /// Rotary position embeddings
    Rope,
    /// Learned position embeddings, as in GPT-2
    Learned,
    /// Sinusoidal position embeddings, which are not trained, as in the first transformer
    Sinusoidal,
}

/// Feed-forward layer.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub(crate) enum MlpChoice {
    /// SwiGLU of width 8/3 C
    Swiglu,
    /// GELU of width 4 C, as in GPT-2
    Gelu,
}

#[derive(Args)]
#[command(mut_arg("out", |out| out.default_value("runs/modern")))]
pub(crate) struct TrainArgs {
    #[command(flatten)]
    pub(crate) text: TextTrainArgs,
    #[command(flatten)]
    pub(crate) architecture: ArchitectureFlags,
}

/// Components of a new model.
#[derive(Args)]
#[command(next_help_heading = "Model")]
pub(crate) struct ArchitectureFlags {
    /// Normalization
    #[arg(long, value_enum, default_value_t = NormChoice::Rms)]
    norm: NormChoice,
    /// Position encoding
    #[arg(long, value_enum, default_value_t = PositionChoice::Rope)]
    position: PositionChoice,
    /// Feed-forward layer
    #[arg(long, value_enum, default_value_t = MlpChoice::Swiglu)]
    mlp: MlpChoice,
    /// Key-value heads, each shared by --n-head / N query heads [default: --n-head]
    #[arg(long, value_name = "N")]
    n_kv_head: Option<NonZeroUsize>,
    #[command(flatten)]
    pub(crate) window: WindowFlags,
}

impl ArchitectureFlags {
    /// Configuration of the byte-level model of these components and of this `size`.
    ///
    /// # Errors
    /// A usage error when sizes do not fit together, or there is dropout.
    pub(crate) fn config(&self, size: &ModelSizeFlags) -> Result<ModelConfig> {
        let mut config = byte_level_config(size)?;
        ensure_usage(size.dropout == 0., "--dropout: the model of part 3 has no dropout")?;
        self.apply(&mut config)?;
        Ok(config)
    }

    /// Gives `config` these components.
    ///
    /// # Errors
    /// A usage error when sizes do not fit together.
    pub(crate) fn apply(&self, config: &mut ModelConfig) -> Result<()> {
        if let Some(n_kv_head) = self.n_kv_head {
            config.attention.n_kv_head = n_kv_head.get();
        }
        config.attention.window = self.window.sliding_window().map(LayerWindow::from);
        if let NormChoice::Layer = self.norm {
            config.norm = NormKind::Layer { eps: 1e-5 };
        }
        if let PositionChoice::Learned | PositionChoice::Sinusoidal = self.position {
            config.attention.position = PositionEncoding::Learned { offset: 0 };
        }
        if let MlpChoice::Gelu = self.mlp {
            config.mlp = Mlp::Gelu { width: config.n_embd.saturating_mul(4), form: Gelu::Tanh };
        }
        as_usage_error(config.validate())
    }

    /// New model of these components, in `parameters`. Sinusoidal positions are a table of
    /// positions like learned ones, except that it is not trained. Its standard deviation is that
    /// of the token embeddings, which the first transformer scales up instead, by √C.
    pub(crate) fn new_model(
        &self,
        config: &ModelConfig,
        parameters: &mut Parameters,
    ) -> candle_core::Result<GptModern> {
        let model = GptModern::new(config, parameters.root())?;
        let PositionChoice::Sinusoidal = self.position else { return Ok(model) };
        let name = format!("{}.weight", TensorNames::of(config).embed_positions);
        let (t, c, device) = (config.context_len, config.n_embd, parameters.device().clone());
        let scale = config.init_std * f64::sqrt(2.); // that of a sine is 1 / √2
        let table = (sinusoidal_positions(t, c, DType::F32, &device)? * scale)?;
        for parameter in parameters.iter().filter(|parameter| parameter.name.ends_with(&name)) {
            parameter.var.set(&table)?;
        }
        parameters.freeze(|parameter| parameter.ends_with(&name));
        GptModern::new(config, parameters.root())
    }
}

#[derive(Args)]
pub(crate) struct GenerateArgs {
    #[command(flatten)]
    pub(crate) model: ModelFlags,
    #[command(flatten)]
    pub(crate) chat_template: ChatTemplateFlags,
    /// Text to continue; special tokens in it are encoded as plain text (see --ask for chats)
    #[arg(long, value_name = "TEXT", default_value = "", hide_default_value = true)]
    pub(crate) prompt: String,
    /// Question to answer, put through the model's chat template
    #[arg(long, value_name = "QUESTION", conflicts_with = "prompt")]
    pub(crate) ask: Option<String>,
    /// File of prompts to complete in batches: .txt with one a line, or rows (.json, .jsonl or
    /// .parquet) with a `prompt`, a text to continue or messages for the chat template
    #[arg(
        long, value_name = "FILE", requires = "out",
        conflicts_with_all = ["prompt", "ask", "json", "prompt_lookup_num_tokens"]
    )]
    pub(crate) prompts: Option<PathBuf>,
    /// With --prompts: file of the completions, JSON Lines of prompt, completion and finish_reason
    #[arg(long, value_name = "FILE", requires = "prompts")]
    pub(crate) out: Option<PathBuf>,
    /// With --prompts: prompts per batch
    #[arg(long, value_name = "N", default_value = "16")]
    pub(crate) batch_size: NonZeroUsize,
    /// Maximum number of new tokens
    #[arg(long, value_name = "N", default_value_t = 200)]
    pub(crate) max_new_tokens: usize,
    #[command(flatten)]
    pub(crate) prompt_lookup: PromptLookupFlags,
    #[command(flatten)]
    pub(crate) sampler: SamplerFlags,
    #[command(flatten)]
    pub(crate) window: WindowFlags,
    #[command(flatten)]
    pub(crate) compute: ComputeFlags,
    /// Print the result as a JSON object on the last line instead of streaming the text
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Args)]
pub(crate) struct ScoreArgs {
    #[command(flatten)]
    pub(crate) model: ModelFlags,
    /// Text file to score
    #[arg(long, value_name = "FILE")]
    pub(crate) text_file: PathBuf,
    /// Tokens between the starts of two windows of a text that exceeds the context; fewer are
    /// slower, and give each token more context [default: half the context]
    #[arg(long, value_name = "N")]
    pub(crate) stride: Option<NonZeroUsize>,
    #[command(flatten)]
    pub(crate) compute: ComputeFlags,
    /// Print the result as a JSON object on the last line
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Args)]
pub(crate) struct MapsArgs {
    #[command(flatten)]
    pub(crate) model: ModelFlags,
    /// Text that the model reads
    #[arg(long, value_name = "TEXT")]
    pub(crate) text: String,
    /// Layer to draw, counted from 1 [default: all if they have at most 32 heads, else the first]
    #[arg(long, value_name = "N")]
    pub(crate) layer: Option<NonZeroUsize>,
    /// PNG file of the attention maps
    #[arg(long, value_name = "FILE", default_value = "runs/maps.png")]
    pub(crate) out: PathBuf,
    #[command(flatten)]
    pub(crate) compute: ComputeFlags,
}
