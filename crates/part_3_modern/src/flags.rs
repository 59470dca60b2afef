//! Command-line flags of programs that train a model or generate text: sizes, model, sampler,
//! prompt lookup, sliding window.

use std::num::NonZeroUsize;

use anyhow::Result;
use candle_core::Device;
use clap::Args;
use experiment::number::{non_negative, probability, temperature};
use experiment::program::ensure_usage;
use experiment::terminal::printable;
use model_io::config::AttentionConfig;
use model_io::{LoadMode, ModelConfig, SlidingWindow, locate_adapter};
use tiny_gpt::GptConfig;
use tiny_gpt::flags::ModelSizeFlags;

pub use crate::chat_template_flags::{
    ChatTemplateFlags, RunChatTemplateFlags, as_one_setting, variables_of_run,
};
use crate::{CacheKind, Checkpoint, Sampler, SamplingStrategy};

/// Configuration of a byte-level model of these sizes, with this part's components.
///
/// # Errors
/// Those of [`ModelSizeFlags::config`].
pub fn byte_level_config(size: &ModelSizeFlags) -> Result<ModelConfig> {
    let GptConfig { context_len, block, .. } = size.config()?;
    Ok(ModelConfig::byte_level(context_len, block.n_layer, block.n_head, block.n_embd))
}

/// Flags that name the model and the precision of its weights.
#[derive(Debug, Clone, Args)]
pub struct ModelFlags {
    /// Model or run folder, .gguf file, llama2.c .bin, or owner/name[:file.gguf] on the Hub; or an
    /// adapter, which names its base model
    #[arg(long, visible_alias = "model-name-or-path", value_name = "MODEL")]
    pub model: String,
    /// LoRA adapter of --model: a folder in the layout of peft, or owner/name on the Hub
    #[arg(long, value_name = "ADAPTER")]
    pub adapter: Option<String>,
    /// Dequantize quantized weights to f32: slower, more exact
    #[arg(long)]
    pub dequantize: bool,
}

impl ModelFlags {
    /// Opens the model for inference.
    ///
    /// # Errors
    /// Those of [`Checkpoint::open`].
    pub fn open_for_inference(&self, device: &Device) -> Result<Checkpoint> {
        let mode = match self.dequantize {
            true => LoadMode::DequantizedInference,
            false => LoadMode::Inference,
        };
        match &self.adapter {
            Some(adapter) => {
                let adapter = locate_adapter(adapter)?;
                Checkpoint::open_with_adapter(&self.model, &adapter, mode, device)
            }
            None => Checkpoint::open(&self.model, mode, device),
        }
    }
}

/// `--adapter` of a command that trains, which is refused: the run goes on from one model, which
/// its settings name.
#[derive(Debug, Clone, Default, Args)]
pub struct RefusedAdapterFlag {
    /// Adapter of --model
    #[arg(long, hide = true, value_name = "ADAPTER")]
    adapter: Option<String>,
}

impl RefusedAdapterFlag {
    /// Checks that the flag is not given.
    ///
    /// # Errors
    /// A [`UsageError`](experiment::program::UsageError) that says how to train on top of an
    /// adapter.
    pub fn check(&self) -> Result<()> {
        let Some(adapter) = &self.adapter else { return Ok(()) };
        let adapter = printable(adapter);
        let message = format!(
            "--adapter: training starts from one model; write it with `part_6 merge --model MODEL \
             --adapter {adapter} --out DIR`, and give --model DIR"
        );
        ensure_usage(false, message)
    }
}

/// Sampling flags. A flag that is not given defaults to the value in the model's files.
#[derive(Debug, Clone, Copy, Args)]
pub struct SamplerFlags {
    /// Sampling temperature, 0 for greedy [default: the model's own, else 0.8, in chats 0]
    #[arg(long, value_name = "T", allow_negative_numbers = true, value_parser = temperature)]
    pub temperature: Option<f64>,
    /// Sample from the K most likely tokens, 0 for all [default: the model's own, else 50]
    #[arg(long, value_name = "K")]
    pub top_k: Option<usize>,
    /// Nucleus sampling: the most likely tokens of total probability P [default: the model's own,
    /// else 1]
    #[arg(long, value_name = "P", allow_negative_numbers = true, value_parser = probability)]
    pub top_p: Option<f64>,
    /// Minimum probability relative to the most likely token [default: the model's own, else 0]
    #[arg(long, value_name = "P", allow_negative_numbers = true, value_parser = probability)]
    pub min_p: Option<f64>,
    /// Repetition penalty of tokens that occurred, 1 for none [default: the model's own, else 1]
    #[arg(long, value_name = "X", allow_negative_numbers = true, value_parser = repetition_penalty)]
    pub repetition_penalty: Option<f64>,
}

impl SamplerFlags {
    /// Sampler for text completion. `model_sampler` is the one in the model's files.
    pub fn sampler(&self, model_sampler: Option<Sampler>) -> Sampler {
        self.override_sampler(model_sampler.unwrap_or(Sampler::new(SamplingStrategy::new(
            0.8,
            Some(50),
            None,
            None,
        ))))
    }

    /// Sampler for chat. Greedy unless `model_sampler` or a flag sets another: small models answer
    /// best with their most likely tokens.
    pub fn chat_sampler(&self, model_sampler: Option<Sampler>) -> Sampler {
        self.override_sampler(model_sampler.unwrap_or(Sampler::new(SamplingStrategy::Greedy)))
    }

    fn override_sampler(&self, sampler: Sampler) -> Sampler {
        let (temperature, top_k, top_p, min_p) = match sampler.strategy {
            SamplingStrategy::Greedy => (0., Some(50), None, None),
            SamplingStrategy::Random { temperature, top_k, top_p, min_p } => {
                (temperature, top_k, top_p, min_p)
            }
        };
        let strategy = SamplingStrategy::new(
            self.temperature.unwrap_or(temperature),
            self.top_k.or(top_k).filter(|&k| k > 0),
            self.top_p.or(top_p),
            self.min_p.or(min_p),
        );
        let repetition_penalty = self.repetition_penalty.unwrap_or(sampler.repetition_penalty);
        Sampler { strategy, repetition_penalty }
    }
}

fn repetition_penalty(text: &str) -> std::result::Result<f64, String> {
    let number = non_negative(text)?;
    if number >= 1. { Ok(number) } else { Err("must be 1 (none) or above".into()) }
}

/// Flag of prompt lookup decoding, beside those of a window.
#[derive(Debug, Clone, Copy, Args)]
pub struct PromptLookupFlags {
    /// Prompt lookup decoding: propose up to K tokens that followed the last few ones earlier in
    /// the text, and check them in one forward pass; up to the context length, and up to rounding,
    /// the text is the same
    #[arg(long, value_name = "K", conflicts_with = "window")]
    pub prompt_lookup_num_tokens: Option<NonZeroUsize>,
}

impl PromptLookupFlags {
    /// Cache for generation with a model of `attention`: with prompt lookup a full one, from which
    /// rejected tokens can be taken back, else that of the flags `window`. The mask of a full cache
    /// has the model's own window, too.
    pub fn cache_kind(&self, window: &WindowFlags, attention: &AttentionConfig) -> CacheKind {
        match self.prompt_lookup_num_tokens {
            Some(_) => CacheKind::Full,
            None => window.cache_kind(attention),
        }
    }
}

/// Sliding-window flags.
#[derive(Debug, Clone, Copy, Args)]
pub struct WindowFlags {
    /// Sliding window: attend to the last W tokens only
    #[arg(long, alias = "sliding-window", value_name = "W")]
    pub window: Option<NonZeroUsize>,
    /// Attention sinks: also attend to the first S tokens
    #[arg(long, alias = "sink", value_name = "S", default_value_t = 0, requires = "window")]
    pub sinks: usize,
}

impl WindowFlags {
    /// Cache for generation with a model of `attention`: the window of the flags, in all layers,
    /// else what the model's layers need.
    pub fn cache_kind(&self, attention: &AttentionConfig) -> CacheKind {
        let window = self.sliding_window();
        window.map_or_else(|| CacheKind::of(attention), CacheKind::SlidingWindow)
    }

    /// Window given by the flags, if any.
    pub fn sliding_window(&self) -> Option<SlidingWindow> {
        self.window.map(|size| SlidingWindow { size: size.get(), sinks: self.sinks })
    }
}
