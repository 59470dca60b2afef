//! A base model where none is given: small, pretrained in the same process for some seconds, on the course's stories and on
//! counting.
//!
//! Pretraining is the same loop with nothing masked. No arithmetic problem is in its text: stories with a digit, or with a
//! number worked out in words, are left out; counting, up and down, is how it learns the digits.

use anyhow::Result;
use candle_core::{DType, Device};
use modern::model_folder::SpecialTokenIds;
use modern::{AddSpecialTokens, Checkpoint, GptModern, ModelConfig, ParseSpecial, Tokenizer};
use tensor_core::{AdamWConfig, Parameters, Rng};
use tiny_gpt::builtin_text::BuiltinText;

use crate::arithmetic_questions::{DemonstrationStyle, demonstrations};
use crate::training::{TrainConfig, train};
use crate::{Example, RunOutputs, SftLog, TokenizedExample, TrainState, word_tokenizer};

/// Longest text, in tokens.
const CONTEXT_LEN: usize = 128;
const VOCAB_SIZE: usize = 1024;
/// Lines of counting beside the stories.
pub const N_COUNTING_LINES: usize = 1500;

/// The size of a base model, and how long it is pretrained.
#[derive(Debug, Clone, Copy)]
pub struct BaseModelConfig {
    /// Blocks.
    pub n_layer: usize,
    /// Heads.
    pub n_head: usize,
    /// Channels.
    pub n_embd: usize,
    /// Optimizer steps.
    pub steps: usize,
}

impl Default for BaseModelConfig {
    fn default() -> Self {
        Self { n_layer: 2, n_head: 4, n_embd: 128, steps: 150 }
    }
}

impl BaseModelConfig {
    /// # Errors
    /// When the sizes do not fit each other.
    pub fn check(self) -> candle_core::Result<()> {
        let Self { n_layer, n_head, n_embd, .. } = self;
        if n_head > 0 && !n_embd.is_multiple_of(n_head) {
            candle_core::bail!("{n_head} heads cannot share {n_embd} channels");
        }
        ModelConfig::byte_level(CONTEXT_LEN, n_layer, n_head, n_embd).validate()
    }
}

/// A base model, pretrained from `seed`.
///
/// # Errors
/// When the sizes do not fit each other.
pub fn pretrain(config: BaseModelConfig, seed: u64, device: &Device) -> Result<Checkpoint> {
    let text = pretraining_documents(N_COUNTING_LINES, seed);
    let tokenizer = train_tokenizer(&text)?;
    let BaseModelConfig { n_layer, n_head, n_embd, steps } = config;
    let model = ModelConfig {
        vocab_size: tokenizer.vocab_size(),
        ..ModelConfig::byte_level(CONTEXT_LEN, n_layer, n_head, n_embd)
    };
    let mut parameters = Parameters::seeded(seed, DType::F32, device);
    GptModern::new(&model, parameters.root())?;
    // At a rate of 3e-3 it learns its stories better, and sums later.
    let optimizer = AdamWConfig { beta2: 0.99, ..AdamWConfig::default() };
    let config = TrainConfig { optimizer, ..TrainConfig::with_defaults(16, steps, 1e-3, seed) };
    let mut tuning = TrainState::new(model, parameters, config.optimizer)?;
    let mut log = SftLog::new(steps, config.schedule.warmup_steps, 0, steps.max(1))?;
    if steps > 0 {
        let windows = windows(&text, &tokenizer)?;
        train(&mut tuning, &windows, &config, None, &RunOutputs::default(), &mut log)?;
    }
    let ends = SpecialTokenIds { bos: None, eos: tokenizer.eos().into_iter().collect() };
    let parameters = tuning.parameters;
    let model = GptModern::new(&model, parameters.for_inference().root())?;
    Ok(Checkpoint {
        model,
        parameters,
        tokenizer,
        special_ids: ends,
        sampler: None,
        chat_template: None,
    })
}

/// What it is pretrained on: stories, and so many lines of counting.
pub fn pretraining_documents(counting: usize, seed: u64) -> Vec<String> {
    let worked_out = |story: &str| {
        let story = story.to_lowercase();
        [" plus ", " minus ", " times ", " makes ", " more"].iter().any(|word| story.contains(word))
    };
    let stories = BuiltinText::English.text().split("\n\n").map(str::trim);
    let stories = stories
        .filter(|story| !story.contains(|c: char| c.is_ascii_digit()) && !worked_out(story))
        .map(String::from);
    let mut rng = Rng::new(seed);
    let counting = (0..counting).map(|_| {
        let (first, n) = (rng.below(190) as i64, 8 + rng.below(8) as i64);
        let step = if rng.below(2) == 0 { 1 } else { -1 };
        let numbers = (0..n).map(|i| (first + step * i).to_string());
        numbers.collect::<Vec<_>>().join(", ")
    });
    let mut pieces: Vec<String> = stories.chain(counting).collect();
    rng.shuffle(&mut pieces); // not as a shuffle from `seed` would: a split from it would hold out stories alone
    pieces
}

/// Learned from these pieces of text, and from how questions are written.
///
/// # Errors
/// Never in practice: what it learns from is fixed.
pub fn train_tokenizer(pieces: &[String]) -> Result<Tokenizer> {
    let questions = demonstrations(2000, DemonstrationStyle::Noisy, 0).into_iter();
    let questions = questions.map(|Example { prompt, completion }| {
        format!("### Instruction:\n{}\n\n### Response:\n{completion}\n\n", prompt[0].content)
    });
    let pieces = pieces.iter().map(|piece| format!("{piece}\n\n"));
    let pieces: Vec<String> = pieces.chain(questions).collect();
    word_tokenizer::train(pieces.into_iter(), VOCAB_SIZE)
}

/// The text in windows, of which everything is learned.
fn windows(pieces: &[String], tokenizer: &Tokenizer) -> Result<Vec<TokenizedExample>> {
    let mut ids = Vec::new();
    for piece in pieces {
        ids.extend(tokenizer.encode(piece, AddSpecialTokens::No, ParseSpecial::No)?);
        ids.extend(tokenizer.eos());
    }
    Ok(ids
        .chunks(CONTEXT_LEN + 1)
        .filter(|ids| ids.len() > 1)
        .map(|ids| TokenizedExample::for_pretraining(ids.to_vec()))
        .collect())
}
