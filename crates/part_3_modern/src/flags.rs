//! Flags of programs that write with a model.

use std::num::NonZeroUsize;

use anyhow::Result;
use candle_core::Device;
use clap::Args;
use tiny_gpt::flags::{non_negative, probability, temperature};

use crate::{CacheKind, Checkpoint, LoadMode, Sampler, SamplingStrategy, SlidingWindow};

/// Which model, and how exactly.
#[derive(Debug, Clone, Args)]
pub struct ModelFlags {
    /// A model folder in Hugging Face's layout, a run's folder, a .gguf file, a llama2.c .bin with its tokenizer beside it, or
    /// owner/name or owner/name:file.gguf on the Hub
    #[arg(long, visible_alias = "model-name-or-path", value_name = "MODEL")]
    pub model: String,
    /// Turn quantized weights into full numbers: slower, exact
    #[arg(long)]
    pub dequantize: bool,
}

impl ModelFlags {
    /// Opens it for inference.
    ///
    /// # Errors
    /// As [`Checkpoint::open`].
    pub fn open_for_inference(&self, device: &Device) -> Result<Checkpoint> {
        let exactly = self.dequantize;
        let purpose = if exactly { LoadMode::DequantizedInference } else { LoadMode::Inference };
        Checkpoint::open(&self.model, purpose, device)
    }
}

/// How tokens are chosen; what no flag says is as the model's files have it.
#[derive(Debug, Clone, Copy, Args)]
pub struct SamplerFlags {
    /// Below 1 likelier tokens, above 1 wilder ones, 0 always the best [default: the model's own, else 0.8, in answers 0]
    #[arg(long, value_name = "T", allow_negative_numbers = true, value_parser = temperature)]
    pub temperature: Option<f64>,
    /// Draw from the K best tokens; 0 for all [default: the model's own, else 50]
    #[arg(long, value_name = "K")]
    pub top_k: Option<usize>,
    /// Draw from the fewest tokens that hold the share P [default: the model's own, else 1]
    #[arg(long, value_name = "P", allow_negative_numbers = true, value_parser = probability)]
    pub top_p: Option<f64>,
    /// Draw from those at least P times as likely as the likeliest [default: the model's own, else all]
    #[arg(long, value_name = "P", allow_negative_numbers = true, value_parser = probability)]
    pub min_p: Option<f64>,
    /// Above 1: tokens that occurred become less likely [default: the model's own, else 1]
    #[arg(long, value_name = "X", allow_negative_numbers = true, value_parser = penalty)]
    pub repetition_penalty: Option<f64>,
}

impl SamplerFlags {
    /// The sampler they describe for what continues a text, given the model's `own` one.
    pub fn sampler(&self, own: Option<Sampler>) -> Sampler {
        self.override_sampler(own.unwrap_or(Sampler::new(SamplingStrategy::new(
            0.8,
            Some(50),
            None,
            None,
        ))))
    }

    /// The same for answers: small models get them right with their likeliest tokens, if at all.
    pub fn chat_sampler(&self, own: Option<Sampler>) -> Sampler {
        self.override_sampler(own.unwrap_or(Sampler::new(SamplingStrategy::Greedy)))
    }

    fn override_sampler(&self, sampler: Sampler) -> Sampler {
        let (temperature, top_k, top_p, min_p) = match sampler.strategy {
            SamplingStrategy::Greedy => (0., Some(50), None, None),
            SamplingStrategy::Random { temperature, top_k, top_p, min_p } => {
                (temperature, top_k, top_p, min_p)
            }
        };
        let choice = SamplingStrategy::new(
            self.temperature.unwrap_or(temperature),
            self.top_k.or(top_k).filter(|&k| k > 0),
            self.top_p.or(top_p),
            self.min_p.or(min_p),
        );
        let penalty = self.repetition_penalty.unwrap_or(sampler.repetition_penalty);
        Sampler { strategy: choice, repetition_penalty: penalty }
    }
}

fn penalty(text: &str) -> std::result::Result<f64, String> {
    let number = non_negative(text)?;
    if number >= 1. { Ok(number) } else { Err("must be 1 (none) or above".into()) }
}

/// How far back a token looks.
#[derive(Debug, Clone, Copy, Args)]
pub struct WindowFlags {
    /// See only the last W tokens
    #[arg(long, value_name = "W")]
    pub window: Option<NonZeroUsize>,
    /// And the first S
    #[arg(long, alias = "sink", value_name = "S", default_value_t = 0, requires = "window")]
    pub sinks: usize,
}

impl WindowFlags {
    /// What a model is to remember: this window, else its `own`, else everything.
    pub fn cache_kind(&self, own: Option<SlidingWindow>) -> CacheKind {
        self.sliding_window().or(own).map_or(CacheKind::Full, CacheKind::SlidingWindow)
    }

    /// The window they describe.
    pub fn sliding_window(&self) -> Option<SlidingWindow> {
        self.window.map(|size| SlidingWindow { size: size.get(), sinks: self.sinks })
    }
}
