//! The stages in order. Most of them run a command of a part, which can also be run alone.

use std::path::Path;

use anyhow::Result;
use datasets::arithmetic_questions::{DemonstrationStyle, demonstrations};
use sft::{FinetunedModel, tokenize};

use crate::course::CourseRun;
use crate::sample::{self, TextSample};
use crate::stage::{MetricsLog, StageRecord};
use crate::{attention, base, evaluation, scoreboard};

/// A stage: the name of its folder, its title and idea in the report, and the stages it needs.
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
        idea: "Attention lets a token read from other tokens. Two of these heads have hand-set \
               weights, so that each does one thing that its map shows; two are baselines.",
        prerequisites: &[],
        run: attention::run,
    },
    CourseStage {
        name: "tokens",
        title: "Tokenization",
        idea: "Byte-pair encoding merges the most frequent pairs until common words are single \
               tokens. Digits stay separate, because a model that adds numbers must see them.",
        prerequisites: &[],
        run: base::train_tokenizer,
    },
    CourseStage {
        name: "base",
        title: "Pretraining",
        idea: "A modern transformer with half a million parameters learns to predict the next \
               token of little stories and of lines that count up and down. Its training text \
               contains no sums.",
        prerequisites: &["tokens"],
        run: base::pretrain,
    },
    CourseStage {
        name: "sft",
        title: "Supervised fine-tuning",
        idea: "The model is trained on questions with answers; only the tokens of the answers are \
               in the loss. The demonstrations are imperfect: in five of twelve phrasings, most \
               answers end with a full stop, though the task asks for the bare integer.",
        prerequisites: &["base"],
        run: sft,
    },
    CourseStage {
        name: "reward",
        title: "Reward model",
        idea: "The fine-tuned model gets a scalar reward head in place of the output head. It is \
               trained on pairs of a right answer and a near miss to give the right answer the \
               higher reward.",
        prerequisites: &["sft"],
        run: reward,
    },
    CourseStage {
        name: "ppo",
        title: "Reinforcement learning: PPO",
        idea: "The fine-tuned model samples completions and is rewarded for an exact match. A \
               critic estimates the expected reward: completions above it become more likely. A \
               KL penalty keeps the policy close to the fine-tuned model.",
        prerequisites: &["sft"],
        run: ppo,
    },
    CourseStage {
        name: "grpo",
        title: "Reinforcement learning: GRPO",
        idea: "The same initial model, task and number of completions as for PPO, without a \
               critic: each completion is compared with the other completions of its prompt.",
        prerequisites: &["sft"],
        run: grpo,
    },
    CourseStage {
        name: "scoreboard",
        title: "Evaluation",
        idea: "All models are evaluated on the same sums and differences, which are in the \
               training data of none of them.",
        prerequisites: &["base", "sft", "reward", "ppo", "grpo"],
        run: scoreboard::run,
    },
];

impl CourseStage {
    /// Number and title.
    pub(crate) fn heading(&self) -> String {
        let number = STAGES.iter().position(|stage| stage.name == self.name).map_or(0, |i| i + 1);
        format!("== {number}/{} {}", STAGES.len(), self.title)
    }
}

/// Number of demonstrations in the report.
const N_SAMPLES: usize = 3;
/// Prompts per step and group size of PPO and of GRPO. Both generate the same number of
/// completions in total: PPO in 300 steps and GRPO in 75 (with `--quick`, in 8 and 2).
const BATCH_AND_GROUP_SIZE: [[&str; 2]; 2] = [["32", "8"], ["64", "16"]];

fn sft(course: &CourseRun, folder: &Path) -> Result<StageRecord> {
    let (model, steps) = (stage_path(course, "base/model"), course.full_or_quick("4500", "100"));
    let mut line = vec!["part_6", "train", "--model", &model, "--demonstrations", "noisy"];
    line.extend(["--steps", steps, "--eval-interval", "500"]);
    let command = course.run_command(sft::command::parse_and_run, &line, folder)?;
    let FinetunedModel { model, chat_tokenizer, .. } = evaluation::open_model(course, folder)?;
    let examples = demonstrations(N_SAMPLES, DemonstrationStyle::Noisy, course.settings.seed);
    let examples = tokenize(&examples, &chat_tokenizer, model.config().context_len)?.examples;
    let samples =
        examples.iter().map(|example| TextSample::from_example(example, &chat_tokenizer.tokenizer));
    sample::save(folder, &samples.collect::<Result<Vec<_>>>()?)?;
    record_from_metrics(
        folder,
        command,
        ("exact_match", "exact match on the validation set after the last step"),
        |metrics| metrics.last("tokens"),
    )
}

fn reward(course: &CourseRun, folder: &Path) -> Result<StageRecord> {
    let (model, steps) = (stage_path(course, "sft"), course.full_or_quick("1500", "40"));
    let line = ["part_7", "train", "--model", &model, "--steps", steps, "--eval-interval", "300"];
    let command = course.run_command(reward::command::parse_and_run, &line, folder)?;
    record_from_metrics(
        folder,
        command,
        ("val_accuracy", "accuracy on the validation pairs after the last step"),
        |metrics| metrics.last("tokens"),
    )
}

fn ppo(course: &CourseRun, folder: &Path) -> Result<StageRecord> {
    let (model, steps) = (stage_path(course, "sft"), course.full_or_quick("300", "8"));
    let [batch_size, group_size] = BATCH_AND_GROUP_SIZE[0];
    let mut line = vec!["part_8", "train", "--model", &model, "--steps", steps];
    line.extend(["--batch-size", batch_size, "--group-size", group_size, "--eval-interval", "50"]);
    let command = course.run_command(ppo::command::parse_and_run, &line, folder)?;
    let n_completions: f64 = batch_size.parse::<f64>()? * group_size.parse::<f64>()?;
    record_from_metrics(
        folder,
        command,
        ("val_exact_match", "exact match on the validation set after the last step"),
        |metrics| Ok(metrics.sum("length_mean") * n_completions),
    )
}

fn grpo(course: &CourseRun, folder: &Path) -> Result<StageRecord> {
    let (model, steps) = (stage_path(course, "sft"), course.full_or_quick("75", "2"));
    let [batch_size, group_size] = BATCH_AND_GROUP_SIZE[1];
    let mut line = vec!["part_9", "train", "--model", &model, "--steps", steps];
    line.extend(["--batch-size", batch_size, "--group-size", group_size, "--eval-interval", "15"]);
    let command = course.run_command(grpo::command::parse_and_run, &line, folder)?;
    record_from_metrics(
        folder,
        command,
        ("val_exact_match", "exact match on the validation set after the last step"),
        |metrics| metrics.last("tokens"),
    )
}

/// Record of the training run in `folder`: the last value of the metric `key`, a fraction, as a
/// percentage with its `description`, and the number of tokens.
fn record_from_metrics(
    folder: &Path,
    command: String,
    (key, description): (&str, &str),
    n_tokens: impl Fn(&MetricsLog) -> Result<f64>,
) -> Result<StageRecord> {
    let metrics = MetricsLog::read(folder)?;
    let results = vec![format!("{:.1} % {description}", 100. * metrics.last(key)?)];
    Ok(StageRecord {
        command: Some(command),
        tokens: n_tokens(&metrics)? as u64,
        results,
        ..StageRecord::default()
    })
}

/// Output folder of a stage, or a file in it, as a command-line argument.
fn stage_path(course: &CourseRun, name: &str) -> String {
    course.stage_folder(name).display().to_string()
}
