//! The base model: little stories, and numbers that count up and down, as tokens; then part 4's run on them.

use std::path::Path;

use anyhow::{Context, Result};
use modern::sampler::{Sampler, SamplingStrategy};
use modern::{Checkpoint, GenerateConfig, LoadMode, SkipSpecialTokens, generate};
use scaling::documents::SEPARATOR;
use sft::base_model;
use tensor_core::{Rng, atomic_file};

use crate::attention;
use crate::course::CourseRun;
use crate::sample::{self, TextSample};
use crate::stage::{MetricsLog, StageRecord};

/// The longest text that the models of the course see, in tokens.
const CONTEXT_LEN: usize = 128;
/// What the heads of the base model are shown.
const SENTENCE: &str = "Mei looked at the moon and the moon looked at Mei.";
/// What it goes on with.
const PROMPT: &str = "A child named";

/// Text becomes tokens.
pub(crate) fn train_tokenizer(course: &CourseRun, folder: &Path) -> Result<StageRecord> {
    let pieces =
        base_model::pretraining_documents(base_model::N_COUNTING_LINES, course.settings.seed);
    let tokenizer = base_model::train_tokenizer(&pieces)?;
    tokenizer.save(folder, CONTEXT_LEN, None)?;
    let text = pieces.join(SEPARATOR);
    atomic_file::write(&folder.join("text.txt"), text.as_bytes())?;
    let (_, cut) = TextSample::tokenize("What is 12 - 7? Answer with an integer.", &tokenizer)?;
    println!("{}", cut.token_texts().join("|"));
    sample::save(folder, &[cut])?;
    Ok(StageRecord {
        results: vec![
            format!("{} characters of text", text.chars().count()),
            format!("a vocabulary of {} tokens", tokenizer.vocab_size()),
        ],
        ..StageRecord::default()
    })
}

/// A model learns to go on with text.
pub(crate) fn pretrain(course: &CourseRun, folder: &Path) -> Result<StageRecord> {
    let tokens = course.stage_folder("tokens");
    let text = tokens.join("text.txt");
    let (data, tokenizer) = (text.display().to_string(), tokens.display().to_string());
    let context = CONTEXT_LEN.to_string();
    let mut line = vec!["part_4", "train", "--data", &data, "--tokenizer", &tokenizer];
    line.extend(["--n-layer", "2", "--n-embd", "128", "--context-len", &context]);
    line.extend([
        "--steps",
        course.full_or_quick("200", "60"),
        "--lr",
        "1e-3",
        "--eval-interval",
        "50",
    ]);
    line.extend(["--sample-interval", "0", "--sample-len", "1"]); // one that is sharper follows here
    let command = course.run_command(scaling::command::parse_and_run, &line, folder)?;

    let model = folder.join("model").display().to_string();
    let model = Checkpoint::open(&model, LoadMode::Inference, &course.device)?;
    let (ids, sentence) = TextSample::tokenize(SENTENCE, &model.tokenizer)?;
    attention::save(
        folder,
        &attention::last_layer_maps(&model.model, &ids, &sentence.token_texts())?,
    )?;
    let text = generate_story(&model, course.settings.seed)?;
    println!("\nIt writes: {text}");
    sample::save(folder, &[TextSample::from_text(text)])?;
    let figures = MetricsLog::read(folder)?;
    let found = format!("loss {:.2} nats per token of text held out", figures.last("val_loss")?);
    Ok(StageRecord {
        command: Some(command),
        tokens: figures.last("tokens")? as u64,
        results: vec![found],
        ..StageRecord::default()
    })
}

/// What `model` makes of a beginning.
fn generate_story(model: &Checkpoint, seed: u64) -> Result<String> {
    let (ids, _) = TextSample::tokenize(PROMPT, &model.tokenizer)?;
    let likely = Sampler::new(SamplingStrategy::new(0.8, None, Some(0.95), None));
    let how = GenerateConfig::new(&model.model, likely, 80, model.special_ids.eos.clone());
    let mut written = generate(&model.model, &[ids], &how, &mut Rng::new(seed), |_, _| Ok(()))?;
    let written = written.pop().context("nothing was written")?;
    Ok(PROMPT.to_string() + &model.tokenizer.decode(&written.tokens, SkipSpecialTokens::Yes)?)
}
