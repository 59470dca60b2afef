//! The tokenizer and the base model: part 4's tokenizer and pretraining run, on little stories and
//! on lines that count up and down.

use std::path::Path;

use anyhow::{Context, Result};
use datasets::documents::SEPARATOR;
use experiment::terminal::printable;
use model_io::{LoadMode, SkipSpecialTokens};
use modern::sampler::{Sampler, SamplingStrategy};
use modern::{Checkpoint, GenerateConfig, generate};
use sft::base_model;
use tensor_core::{Rng, atomic_file};

use crate::course::CourseRun;
use crate::sample::{self, TextSample};
use crate::stage::{MetricsLog, StageRecord};
use crate::{attention, data};

/// Context length of all models of the course, in tokens.
const CONTEXT_LEN: usize = 128;
/// Input of the attention maps.
const SENTENCE: &str = "Mei looked at the moon and the moon looked at Mei.";
/// Prompt of the generated story.
const PROMPT: &str = "A child named";

/// Trains the tokenizer and writes the pretraining text, with `--quick` also the data of later
/// stages.
pub(crate) fn train_tokenizer(course: &CourseRun, folder: &Path) -> Result<StageRecord> {
    let documents =
        base_model::pretraining_documents(base_model::N_COUNTING_LINES, course.settings.seed);
    let tokenizer = base_model::train_tokenizer(&documents)?;
    tokenizer.save(folder, CONTEXT_LEN, None)?;
    let text = documents.join(SEPARATOR);
    atomic_file::write(&folder.join("text.txt"), text.as_bytes())?;
    if course.settings.quick {
        data::write_files(folder, course.settings.seed)?;
    }
    let (_, question) =
        TextSample::tokenize("What is 12 - 7? Answer with an integer.", &tokenizer)?;
    println!("{}", question.token_texts().join("|"));
    sample::save(folder, &[question])?;
    Ok(StageRecord {
        results: vec![
            format!("{} characters of text", text.chars().count()),
            format!("a vocabulary of {} tokens", tokenizer.vocab_size()),
        ],
        ..StageRecord::default()
    })
}

/// Pretrains the base model with part 4, then saves its attention maps and a generated story.
pub(crate) fn pretrain(course: &CourseRun, folder: &Path) -> Result<StageRecord> {
    let tokens = course.stage_folder("tokens");
    let text = tokens.join("text.txt");
    let (data, tokenizer) = (text.display().to_string(), tokens.display().to_string());
    let context_len = CONTEXT_LEN.to_string();
    let steps = course.full_or_quick("200", "60");
    let mut line = vec!["part_4", "train", "--data", &data, "--tokenizer", &tokenizer];
    line.extend(["--n-layer", "2", "--n-embd", "128", "--context-len", &context_len]);
    line.extend(["--steps", steps, "--lr", "1e-3", "--eval-interval", "50"]);
    // The sample below replaces those of the command: it uses a lower temperature.
    line.extend(["--sample-interval", "0", "--sample-len", "1"]);
    let command = course.run_command(scaling::command::parse_and_run, &line, folder)?;

    let model = folder.join("model").display().to_string();
    let model = Checkpoint::open(&model, LoadMode::Inference, &course.device)?;
    let (ids, sentence) = TextSample::tokenize(SENTENCE, &model.tokenizer)?;
    let maps = attention::last_layer_maps(&model.model, &ids, &sentence.token_texts())?;
    attention::save(folder, &maps)?;
    let story = generate_story(&model, course.settings.seed)?;
    println!("\nSample: {}", printable(&story));
    sample::save(folder, &[TextSample::from_text(story)])?;
    let metrics = MetricsLog::read(folder)?;
    let val_loss = metrics.last("val_loss")?;
    Ok(StageRecord {
        command: Some(command),
        tokens: metrics.last("tokens")? as u64,
        results: vec![format!("validation loss {val_loss:.2} nats per token")],
        ..StageRecord::default()
    })
}

/// A completion of [`PROMPT`], with the prompt.
fn generate_story(model: &Checkpoint, seed: u64) -> Result<String> {
    let (ids, _) = TextSample::tokenize(PROMPT, &model.tokenizer)?;
    let sampler = Sampler::new(SamplingStrategy::new(0.8, None, Some(0.95), None));
    let config = GenerateConfig::new(&model.model, sampler, 80, model.special_ids.eos.clone());
    let mut rng = Rng::new(seed);
    let mut completions = generate(&model.model, &[ids], &config, &mut rng, |_, _| Ok(()))?;
    let completion = completions.pop().context("there is no completion")?;
    Ok(PROMPT.to_string() + &model.tokenizer.decode(&completion.tokens, SkipSpecialTokens::Yes)?)
}
