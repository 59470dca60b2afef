//! The stages in order. Most are a command of a part, which can be typed alone.

use std::path::Path;

use anyhow::Result;
use sft::arithmetic_questions::{DemonstrationStyle, demonstrations};
use sft::tokenize;

use crate::course::CourseRun;
use crate::sample::{self, TextSample};
use crate::stage::{MetricsLog, StageRecord};
use crate::{attention, base, exam, scoreboard};

/// A stage: its folder, what it is called, the idea of it, and what it begins with.
pub(crate) struct CourseStage {
    pub(crate) name: &'static str,
    pub(crate) title: &'static str,
    pub(crate) idea: &'static str,
    pub(crate) prerequisites: &'static [&'static str],
    pub(crate) run: fn(&CourseRun, &Path) -> Result<StageRecord>,
}

/// All stages.
pub(crate) const STAGES: [CourseStage; 8] = [
    CourseStage {
        name: "attention",
        title: "Attention",
        idea: "How does one token look at another? Heads whose weights were set by hand, so that what they do can be read.",
        prerequisites: &[],
        run: attention::run,
    },
    CourseStage {
        name: "tokens",
        title: "Text becomes tokens",
        idea: "Byte-pair encoding joins what often stands together, until words are tokens. Digits stay apart, since a model that is \
               to add must see them.",
        prerequisites: &[],
        run: base::train_tokenizer,
    },
    CourseStage {
        name: "base",
        title: "A language model is born",
        idea: "A modern transformer of half a million random numbers reads little stories, and numbers that count up and down, and \
               learns to predict the next token. It has seen no sum.",
        prerequisites: &["tokens"],
        run: base::pretrain,
    },
    CourseStage {
        name: "sft",
        title: "It learns to answer",
        idea: "Supervised fine-tuning: questions with their answers, of which only the answers are learned. The demonstrators have a \
               habit: to five of twelve ways of asking, most answers end with a full stop, though the bare integer is wanted.",
        prerequisites: &["base"],
        run: sft,
    },
    CourseStage {
        name: "reward",
        title: "It is judged",
        idea: "A reward model: the fine-tuned model with a score in place of the next token. It learns from pairs of a right answer and \
               a near miss, and the score of the right one is to be higher.",
        prerequisites: &["sft"],
        run: reward,
    },
    CourseStage {
        name: "ppo",
        title: "It gets better by trying: PPO",
        idea: "The fine-tuned model answers questions by itself. Answers that are right, to the letter, become likelier, compared with \
               what a critic expected of the question; a penalty keeps it near to what it was.",
        prerequisites: &["sft"],
        run: ppo,
    },
    CourseStage {
        name: "grpo",
        title: "It gets better by trying: GRPO",
        idea: "The same beginning, task and number of answers, and no critic: the answers to a question are compared with each other.",
        prerequisites: &["sft"],
        run: grpo,
    },
    CourseStage {
        name: "scoreboard",
        title: "What it was worth",
        idea: "Every model answers the same sums and differences, which none of them has seen.",
        prerequisites: &["base", "sft", "reward", "ppo", "grpo"],
        run: scoreboard::run,
    },
];

impl CourseStage {
    /// Its number and title.
    pub(crate) fn heading(&self) -> String {
        let number = STAGES.iter().position(|stage| stage.name == self.name).map_or(0, |i| i + 1);
        format!("== {number}/{} {}", STAGES.len(), self.title)
    }
}

/// Demonstrations that are shown.
const N_SAMPLES: usize = 3;
/// Answers of a step of PPO, and of GRPO: 300 and 75 steps, or 8 and 2, are the same number of answers.
const BATCH_AND_GROUP_SIZE: [[&str; 2]; 2] = [["32", "8"], ["64", "16"]];

fn sft(course: &CourseRun, folder: &Path) -> Result<StageRecord> {
    let (model, steps) = (stage_path(course, "base/model"), course.full_or_quick("4500", "100"));
    let mut line = vec!["part_6", "train", "--model", &model, "--demonstrations", "noisy"];
    line.extend(["--steps", steps, "--eval-interval", "500"]);
    let command = course.run_command(sft::command::parse_and_run, &line, folder)?;
    let speech = exam::open_model(course, folder)?.chat_tokenizer;
    let examples = demonstrations(N_SAMPLES, DemonstrationStyle::Noisy, course.settings.seed);
    let examples = tokenize(&examples, &speech, usize::MAX)?.examples;
    let examples =
        examples.iter().map(|example| TextSample::from_example(example, &speech.tokenizer));
    sample::save(folder, &examples.collect::<Result<Vec<_>>>()?)?;
    record_from_metrics(
        folder,
        command,
        ("exact_match", "of validation questions answered exactly at the end"),
        |run| run.last("tokens"),
    )
}

fn reward(course: &CourseRun, folder: &Path) -> Result<StageRecord> {
    let (model, steps) = (stage_path(course, "sft"), course.full_or_quick("1500", "40"));
    let line = ["part_7", "train", "--model", &model, "--steps", steps, "--eval-interval", "300"];
    let command = course.run_command(reward::command::parse_and_run, &line, folder)?;
    record_from_metrics(
        folder,
        command,
        ("val_accuracy", "of validation pairs judged rightly at the end"),
        |run| run.last("tokens"),
    )
}

fn ppo(course: &CourseRun, folder: &Path) -> Result<StageRecord> {
    let (model, steps) = (stage_path(course, "sft"), course.full_or_quick("300", "8"));
    let [prompts, samples] = BATCH_AND_GROUP_SIZE[0];
    let mut line = vec!["part_8", "train", "--model", &model, "--steps", steps];
    line.extend(["--batch-size", prompts, "--samples", samples, "--eval-interval", "50"]);
    let command = course.run_command(ppo::command::parse_and_run, &line, folder)?;
    let answers: f64 = prompts.parse::<f64>()? * samples.parse::<f64>()?;
    let drawn = |run: &MetricsLog| Ok(run.sum("length_mean") * answers);
    record_from_metrics(
        folder,
        command,
        ("val_exact_match", "of validation questions answered exactly at the end"),
        drawn,
    )
}

fn grpo(course: &CourseRun, folder: &Path) -> Result<StageRecord> {
    let (model, steps) = (stage_path(course, "sft"), course.full_or_quick("75", "2"));
    let [prompts, samples] = BATCH_AND_GROUP_SIZE[1];
    let mut line = vec!["part_9", "train", "--model", &model, "--steps", steps];
    line.extend(["--batch-size", prompts, "--group-size", samples, "--eval-interval", "15"]);
    let command = course.run_command(grpo::command::parse_and_run, &line, folder)?;
    record_from_metrics(
        folder,
        command,
        ("val_exact_match", "of validation questions answered exactly at the end"),
        |run| run.last("tokens"),
    )
}

/// What the run in `folder` was worth: the last value of a figure, a share that is called so; and its tokens.
fn record_from_metrics(
    folder: &Path,
    command: String,
    (figure, called): (&str, &str),
    tokens: impl Fn(&MetricsLog) -> Result<f64>,
) -> Result<StageRecord> {
    let run = MetricsLog::read(folder)?;
    let found = vec![format!("{:.1} % {called}", 100. * run.last(figure)?)];
    Ok(StageRecord {
        command: Some(command),
        tokens: tokens(&run)? as u64,
        results: found,
        ..StageRecord::default()
    })
}

/// What a stage left, as an argument.
fn stage_path(course: &CourseRun, name: &str) -> String {
    course.stage_folder(name).display().to_string()
}
