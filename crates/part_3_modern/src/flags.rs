//! Flags of programs that write with a model.

use std::num::NonZeroUsize;

use anyhow::Result;
use candle_core::Device;
use clap::Args;
use tiny_gpt::flags::{non_negative, share, temperature};

use crate::{Checkpoint, Choice, Memory, Purpose, Sampler, Window};

/// Which model, and how exactly.
#[derive(Debug, Clone, Args)]
pub struct ModelFlags {
    /// A model folder in Hugging Face's layout, a .gguf file, a llama2.c .bin with its tokenizer beside it, or
    /// owner/name or owner/name:file.gguf on the Hub
    #[arg(long, value_name = "MODEL")]
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
    pub fn open(&self, device: &Device) -> Result<Checkpoint> {
        let exactly = self.dequantize;
        let purpose = if exactly { Purpose::ExactInference } else { Purpose::Inference };
        Checkpoint::open(&self.model, purpose, device)
    }
}

/// How tokens are chosen.
#[derive(Debug, Clone, Copy, Args)]
pub struct SamplerFlags {
    /// Below 1 likelier tokens, above 1 wilder ones, 0 always the best [default: 0.8, in answers 0]
    #[arg(long, value_name = "T", allow_negative_numbers = true, value_parser = temperature)]
    pub temperature: Option<f64>,
    /// Draw from the K best tokens; 0 for all
    #[arg(long, value_name = "K", default_value_t = 50)]
    pub top_k: usize,
    /// Draw from the fewest tokens that hold the share P
    #[arg(long, value_name = "P", allow_negative_numbers = true, value_parser = share)]
    pub top_p: Option<f64>,
    /// Draw from those at least P times as likely as the likeliest
    #[arg(long, value_name = "P", allow_negative_numbers = true, value_parser = share)]
    pub min_p: Option<f64>,
    /// Above 1: tokens that occurred become less likely
    #[arg(long, value_name = "X", default_value_t = 1., allow_negative_numbers = true, value_parser = penalty)]
    pub repetition_penalty: f64,
}

impl SamplerFlags {
    /// The sampler they describe, for what continues a text.
    pub fn sampler(&self) -> Sampler {
        self.sampler_at(0.8)
    }

    /// The same for answers: small models get them right with their likeliest tokens, if at all.
    pub fn sampler_of_answers(&self) -> Sampler {
        self.sampler_at(0.)
    }

    fn sampler_at(&self, default: f64) -> Sampler {
        let Self { temperature, top_k, top_p, min_p, repetition_penalty } = *self;
        let temperature = temperature.unwrap_or(default);
        let choice = match temperature == 0. {
            true => Choice::Greedy,
            false => {
                let top_k = (top_k > 0).then_some(top_k);
                Choice::Random { temperature, top_k, top_p, min_p }
            }
        };
        Sampler { choice, repetition_penalty }
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
    #[arg(long, value_name = "S", default_value_t = 0, requires = "window")]
    pub sink: usize,
}

impl WindowFlags {
    /// What a model is to remember: this window, else its `own`, else everything.
    pub fn memory(&self, own: Option<Window>) -> Memory {
        self.window().or(own).map_or(Memory::Whole, Memory::Rolling)
    }

    /// The window they describe.
    pub fn window(&self) -> Option<Window> {
        self.window.map(|size| Window { size: size.get(), sinks: self.sink })
    }
}
