//! The stages that train from the base model on: fine-tuning, the reward model, and what learns
//! from preferences and rewards.

use std::path::Path;

use anyhow::Result;
use experiment::RunFolder;
use sft::{FinetunedModel, tokenize};

use crate::course::CourseRun;
use crate::data::{self, Data};
use crate::evaluation;
use crate::sample::{self, TextSample};
use crate::stage::{MetricsLog, StageRecord};

/// Number of demonstrations in the report.
const N_SAMPLES: usize = 3;

/// Steps and other settings of a full run, and of one with `--quick`.
type Sizes = [&'static [&'static str]; 2];

/// Fine-tuning ends before the skill is complete: at an exact match of 42 % on the validation
/// problems, which is one of about 70 % with the form forgiven.
const SFT: Sizes = [
    &["--steps=4500", "--eval-interval=50", "--target-exact-match=0.42"],
    &["--steps=150", "--eval-interval=50", "--max-new-tokens=8"],
];
const REWARD: Sizes =
    [&["--steps=480", "--eval-interval=160"], &["--steps=150", "--eval-interval=50"]];
const DPO: Sizes = [&["--steps=150", "--eval-interval=50"], &["--steps=40", "--eval-interval=10"]];
const ITERATED_DPO: Sizes =
    [&["--steps=100", "--eval-interval=20"], &["--steps=40", "--eval-interval=10", "--lr=3e-4"]];
const PPO_BY_REWARD_MODEL: Sizes =
    [&["--steps=90", "--eval-interval=15"], &["--steps=40", "--eval-interval=5", "--lr=3e-4"]];
const PPO: Sizes =
    [&["--steps=120", "--eval-interval=15"], &["--steps=60", "--eval-interval=10", "--lr=3e-4"]];
const GRPO: Sizes = [
    &["--steps=300", "--eval-interval=20", "--lr=5e-4", "--batch-size=64"],
    &["--steps=80", "--eval-interval=10", "--lr=7e-4", "--batch-size=32"],
];

/// KL penalty of PPO with the reward model.
#[derive(Debug, Clone, Copy)]
pub(crate) enum KlPenalty {
    /// β = 0.
    None,
    /// β = 0.1.
    Weighted,
}

pub(crate) fn sft(course: &CourseRun, folder: &Path) -> Result<StageRecord> {
    let command = train(
        course,
        sft::command::parse_and_run,
        folder,
        &Training {
            part: "part_6",
            model: "base/model",
            data: Data::Demonstrations,
            sizes: SFT,
            flags: &[],
        },
    )?;
    let FinetunedModel { model, chat_tokenizer, .. } = evaluation::open_model(course, folder)?;
    let examples = data::demonstrations(course, N_SAMPLES);
    let examples = tokenize(&examples, &chat_tokenizer, model.config().context_len)?.examples;
    let samples =
        examples.iter().map(|example| TextSample::from_example(example, &chat_tokenizer.tokenizer));
    sample::save(folder, &samples.collect::<Result<Vec<_>>>()?)?;
    record(folder, command, EXACT_MATCH, 0.)
}

pub(crate) fn reward(course: &CourseRun, folder: &Path) -> Result<StageRecord> {
    let command = train(
        course,
        reward::command::parse_and_run,
        folder,
        &Training { part: "part_7", model: "sft", data: Data::Pairs, sizes: REWARD, flags: &[] },
    )?;
    record(folder, command, ("val_accuracy", "accuracy on the validation pairs"), 0.)
}

pub(crate) fn dpo(course: &CourseRun, folder: &Path) -> Result<StageRecord> {
    let command = train(
        course,
        dpo::command::parse_and_run,
        folder,
        &Training {
            part: "part_10",
            model: "sft",
            data: Data::Pairs,
            sizes: DPO,
            // Without the SFT term the right answers lose probability, too.
            flags: &["--beta=0.5", "--sft-weight=0.2"],
        },
    )?;
    let description = "of the validation pairs ranked rightly by the implicit rewards";
    record(folder, command, ("val_rewards/accuracies", description), 0.)
}

pub(crate) fn iterated_dpo(course: &CourseRun, folder: &Path) -> Result<StageRecord> {
    let command = train(
        course,
        dpo::command::parse_and_run,
        folder,
        &Training {
            part: "part_10",
            model: "sft",
            data: Data::Questions,
            sizes: ITERATED_DPO,
            flags: &["--online=pairs", "--group-size=16"],
        },
    )?;
    let n_completions = MetricsLog::read(folder)?.sum("sampled_completions");
    record(folder, command, EXACT_MATCH, n_completions)
}

/// PPO with the reward model's score as the reward.
pub(crate) fn ppo_by_reward_model(
    course: &CourseRun,
    folder: &Path,
    kl_penalty: KlPenalty,
) -> Result<StageRecord> {
    let reward = format!("--reward={}", course.stage_folder("reward").display());
    let kl_coef = match kl_penalty {
        KlPenalty::None => "--kl-coef=0",
        KlPenalty::Weighted => "--kl-coef=0.1",
    };
    train_ppo(course, folder, PPO_BY_REWARD_MODEL, &[&reward, kl_coef])
}

/// PPO with the rule's reward.
pub(crate) fn ppo(course: &CourseRun, folder: &Path) -> Result<StageRecord> {
    train_ppo(course, folder, PPO, &["--reward=exact"])
}

fn train_ppo(
    course: &CourseRun,
    folder: &Path,
    sizes: Sizes,
    flags: &[&str],
) -> Result<StageRecord> {
    let batch = ["--batch-size=32", "--group-size=8", "--max-new-tokens=8"];
    let command = train(
        course,
        ppo::command::parse_and_run,
        folder,
        &Training {
            part: "part_8",
            model: "sft",
            data: Data::Questions,
            sizes,
            flags: &[flags, &batch].concat(),
        },
    )?;
    record(folder, command, EXACT_MATCH, n_completions(folder)?)
}

pub(crate) fn grpo(course: &CourseRun, folder: &Path) -> Result<StageRecord> {
    let command = train(
        course,
        grpo::command::parse_and_run,
        folder,
        &Training {
            part: "part_9",
            model: "sft",
            data: Data::Questions,
            sizes: GRPO,
            flags: &["--group-size=16", "--kl-coef=0.003"],
        },
    )?;
    record(folder, command, EXACT_MATCH, n_completions(folder)?)
}

/// Number of completions that the run in `folder` of part 8 or 9 has sampled.
fn n_completions(folder: &Path) -> Result<f64> {
    let n_steps = MetricsLog::read(folder)?.last_step("reward_mean");
    let settings = RunFolder::read_settings(folder)?.unwrap_or_default();
    let per_step = ["batch_size", "group_size"].map(|key| settings[key].as_f64().unwrap_or(0.));
    Ok(n_steps * per_step[0] * per_step[1])
}

/// Metric that fine-tuning and the stages after it are validated by, and its description.
const EXACT_MATCH: (&str, &str) = ("val_exact_match", "exact match on the validation set");

/// A training command of a part.
struct Training<'a> {
    part: &'a str,
    /// Folder of the initial model in that of the run.
    model: &'a str,
    data: Data,
    sizes: Sizes,
    flags: &'a [&'a str],
}

/// Runs `training` into `folder`, and returns the command as a user would type it.
fn train(
    course: &CourseRun,
    run: fn(Vec<String>) -> Result<()>,
    folder: &Path,
    training: &Training<'_>,
) -> Result<String> {
    let Training { part, model, data, sizes, flags } = training;
    let model = format!("--model={}", course.stage_folder(model).display());
    let data = data.flags(course);
    let mut line = vec![*part, "train", &model];
    line.extend(data.iter().map(String::as_str));
    line.extend(sizes[usize::from(course.settings.quick)].iter().chain(*flags));
    course.run_command(run, &line, folder)
}

/// Record of the training run in `folder`, with the last value of the metric `key`, a fraction, as
/// a percentage with its `description`.
fn record(
    folder: &Path,
    command: String,
    (key, description): (&str, &str),
    n_completions: f64,
) -> Result<StageRecord> {
    let metrics = MetricsLog::read(folder)?;
    let last = format!("{:.1} % {description} after the last step", 100. * metrics.last(key)?);
    Ok(StageRecord {
        command: Some(command),
        tokens: metrics.last("tokens")? as u64,
        completions: n_completions as u64,
        plateau: metrics.plateau("val_exact_match"),
        results: vec![last],
        ..StageRecord::default()
    })
}
