//! Base model for runs without `--model`: small, and pretrained in the same process in seconds, on
//! the course's stories and on counting.
//!
//! Pretraining is the same loop without a loss mask. Its text contains no arithmetic problem:
//! stories with a digit, or with a calculation in words, are left out. The model learns the digits
//! from lines that count up and down.

use anyhow::Result;
use candle_core::{DType, Device};
use datasets::Example;
use datasets::arithmetic_questions::{DemonstrationStyle, demonstrations};
use datasets::builtin_text::BuiltinText;
use model_io::model_folder::SpecialTokenIds;
use model_io::{AddSpecialTokens, ModelConfig, ParseSpecial, Tokenizer};
use modern::{Checkpoint, GptModern};
use scaling::LrSchedule;
use scaling::schedule::DecayShape;
use tensor_core::{AdamWConfig, Parameters, Rng};

use crate::training::train_in_memory;
use crate::{ChatTokenizer, TokenizedExample, TrainConfig, bpe_tokenizer, tokenize};

/// Context length in tokens.
const CONTEXT_LEN: usize = 128;
const VOCAB_SIZE: usize = 1024;
/// Number of counting lines beside the stories.
pub const N_COUNTING_LINES: usize = 1500;
/// Largest number of distinct demonstrations of sums.
const MAX_DEMONSTRATIONS: usize = 200_000;

/// Size of a base model, and length of its pretraining.
#[derive(Debug, Clone, Copy)]
pub struct BaseModelConfig {
    /// Number of transformer blocks.
    pub n_layer: usize,
    /// Number of attention heads.
    pub n_head: usize,
    /// Number of channels.
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
    /// Checks the sizes.
    ///
    /// # Errors
    /// When the sizes do not fit each other.
    pub fn check(self) -> candle_core::Result<()> {
        let Self { n_layer, n_head, n_embd, .. } = self;
        if n_head > 0 && !n_embd.is_multiple_of(n_head) {
            candle_core::bail!("{n_embd} channels cannot be split into {n_head} heads");
        }
        ModelConfig::byte_level(CONTEXT_LEN, n_layer, n_head, n_embd).validate()
    }
}

/// Pretrained base model; `seed` decides its weights and its data.
///
/// # Errors
/// When the sizes do not fit each other.
pub fn pretrain(config: BaseModelConfig, seed: u64, device: &Device) -> Result<Checkpoint> {
    let documents = pretraining_documents(N_COUNTING_LINES, seed);
    let tokenizer = train_tokenizer(&documents)?;
    let BaseModelConfig { n_layer, n_head, n_embd, steps } = config;
    let model = ModelConfig {
        vocab_size: tokenizer.vocab_size(),
        ..ModelConfig::byte_level(CONTEXT_LEN, n_layer, n_head, n_embd)
    };
    let mut parameters = Parameters::seeded(seed, DType::F32, device);
    GptModern::new(&model, parameters.root())?;
    // At a learning rate of 3e-3 it learns the stories better, and sums later.
    let optimizer = AdamWConfig { beta2: 0.99, ..AdamWConfig::default() }.into();
    let config = TrainConfig { optimizer, ..TrainConfig::with_defaults(16, steps, 1e-3, seed) };
    if steps > 0 {
        let examples = pretraining_examples(&documents, &tokenizer)?;
        parameters = train_in_memory(&model, parameters, &examples, &config)?.parameters;
    }
    let special_ids = SpecialTokenIds { bos: None, eos: tokenizer.eos().into_iter().collect() };
    let model = GptModern::new(&model, parameters.for_inference().root())?;
    Ok(Checkpoint { model, parameters, tokenizer, special_ids, sampler: None, chat_template: None })
}

/// `checkpoint`, fine-tuned to answer sums on `steps` batches of 64 clean demonstrations.
///
/// # Errors
/// Those of [`finetune`].
pub fn finetune_on_sums(checkpoint: Checkpoint, steps: usize, seed: u64) -> Result<Checkpoint> {
    if steps == 0 {
        return Ok(checkpoint);
    }
    let n_examples = MAX_DEMONSTRATIONS.min(64 * steps);
    let examples = demonstrations(n_examples, DemonstrationStyle::Clean, seed);
    let defaults = TrainConfig::with_defaults(64, steps, 1e-3, seed);
    let config = TrainConfig {
        schedule: LrSchedule { decay: DecayShape::WarmupStableDecay, ..defaults.schedule },
        optimizer: AdamWConfig { beta2: 0.999, ..defaults.optimizer.adamw() }.into(),
        ..defaults
    };
    finetune(checkpoint, &examples, &config)
}

/// `checkpoint`, which was opened for training, fine-tuned on `examples` in its default chat
/// format.
///
/// # Errors
/// When no example fits into the context, or the loss is not finite.
pub fn finetune(
    mut checkpoint: Checkpoint,
    examples: &[Example],
    config: &TrainConfig,
) -> Result<Checkpoint> {
    let chat_tokenizer = ChatTokenizer::from_checkpoint(&mut checkpoint, None)?;
    let model = *checkpoint.model.config();
    let examples = tokenize(examples, &chat_tokenizer, model.context_len)?.examples;
    let parameters = train_in_memory(&model, checkpoint.parameters, &examples, config)?.parameters;
    let model = GptModern::new(&model, parameters.for_inference().root())?;
    let chat_template = Some(chat_tokenizer.template);
    Ok(Checkpoint { model, parameters, chat_template, ..checkpoint })
}

/// Pretraining documents: the stories, and `n_counting_lines` lines of counting.
pub fn pretraining_documents(n_counting_lines: usize, seed: u64) -> Vec<String> {
    let has_calculation = |story: &str| {
        let story = story.to_lowercase();
        [" plus ", " minus ", " times ", " makes ", " more"].iter().any(|word| story.contains(word))
    };
    let stories = BuiltinText::English.text().split("\n\n").map(str::trim);
    let stories = stories
        .filter(|story| !story.contains(|c: char| c.is_ascii_digit()) && !has_calculation(story))
        .map(String::from);
    let mut rng = Rng::new(seed);
    let counting = (0..n_counting_lines).map(|_| {
        let (first, n) = (rng.below(190) as i64, 8 + rng.below(8) as i64);
        let step = if rng.below(2) == 0 { 1 } else { -1 };
        let numbers = (0..n).map(|i| (first + step * i).to_string());
        numbers.collect::<Vec<_>>().join(", ")
    });
    let mut documents: Vec<String> = stories.chain(counting).collect();
    // The generator has advanced, so this is not the shuffle of a fresh generator of `seed`: a
    // later split with the same seed would then hold out stories only.
    rng.shuffle(&mut documents);
    documents
}

/// Tokenizer trained on these documents and on the questions of the task.
///
/// # Errors
/// Never in practice: the tokenizer's settings are fixed.
pub fn train_tokenizer(documents: &[String]) -> Result<Tokenizer> {
    let questions = demonstrations(2000, DemonstrationStyle::Noisy, 0).into_iter();
    let questions = questions.map(|Example { prompt, completion, .. }| {
        format!("### Instruction:\n{}\n\n### Response:\n{completion}\n\n", prompt[0].content)
    });
    let documents = documents.iter().map(|document| format!("{document}\n\n"));
    let texts: Vec<String> = documents.chain(questions).collect();
    bpe_tokenizer::train_bpe(texts.into_iter(), VOCAB_SIZE)
}

/// Documents, joined and cut into examples that have every token in the loss.
fn pretraining_examples(
    documents: &[String],
    tokenizer: &Tokenizer,
) -> Result<Vec<TokenizedExample>> {
    let mut ids = Vec::new();
    for document in documents {
        ids.extend(tokenizer.encode(document, AddSpecialTokens::No, ParseSpecial::No)?);
        ids.extend(tokenizer.eos());
    }
    Ok(ids
        .chunks(CONTEXT_LEN + 1)
        .filter(|ids| ids.len() > 1)
        .map(|ids| TokenizedExample::for_pretraining(ids.to_vec()))
        .collect())
}
