//! `part_9 table`: the methods beside each other, from one start, on the arithmetic task, each with as many drawn tokens as the others.
//!
//! Each run is an entry of `rows.json`, written when it has ended; what is there is not run again, so the command can be stopped
//! and started at any time.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Instant;

use anyhow::{Context, Result};
use candle_core::{DType, Device};
use grpo::evaluation::Exam;
use grpo::experience::Judgement;
use grpo::reference::{Kind, Reference};
use grpo::training::Looks;
use grpo::{
    Aggregation, Baseline, GrpoConfig, Kl, Objective, Overlong, RewardMix, RunLog, StepConfig,
    Surroundings, Task, train,
};
use modern::sampler::{Choice, Sampler};
use modern::{Checkpoint, GptModern, Purpose};
use ppo::prompts::questions;
use ppo::{Clip, RolloutConfig};
use scaling::Schedule;
use scaling::schedule::Decay;
use serde::{Deserialize, Serialize};
use sft::questions::{Demos, demonstrations};
use sft::tuned::model_in;
use sft::{Curriculum, Outputs, Rows, Speech, TrainConfig, Tuning, tokenize};
use tensor_core::AdamWConfig;
use tiny_gpt::json_file;
use tiny_gpt::loss_curve::{self, Curve};

use crate::arguments::TableArgs;

const BUDGET: usize = 8;
const SAMPLES: usize = 16;
const PROMPTS: usize = 32;

/// A way to learn.
struct Method {
    name: &'static str,
    how: How,
}

enum How {
    /// From right answers, as many tokens of them as the others draw.
    Demonstrations,
    /// From rewards.
    Rewards(Baseline, Aggregation),
}

const METHODS: [Method; 6] = [
    Method { name: "SFT on right answers", how: How::Demonstrations },
    Method { name: "best of n", how: How::Rewards(Baseline::BestOfGroup, Aggregation::Token) },
    Method { name: "REINFORCE", how: How::Rewards(Baseline::BatchMean, Aggregation::Constant) },
    Method { name: "RLOO", how: How::Rewards(Baseline::LeaveOneOut, Aggregation::Constant) },
    Method { name: "GRPO", how: How::Rewards(Baseline::GroupStd, Aggregation::Sequence) },
    Method { name: "Dr. GRPO", how: How::Rewards(Baseline::GroupMean, Aggregation::Constant) },
];

/// What came of a run.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Row {
    method: String,
    seed: u64,
    start: f64,
    right: f64,
    form_forgiven: f64,
    tokens: usize,
    minutes: f64,
    curve: Vec<(usize, f64)>,
}

pub(crate) fn run(args: &TableArgs) -> Result<()> {
    let device = args.compute.open()?;
    let path = args.out.join("rows.json");
    std::fs::create_dir_all(&args.out)
        .with_context(|| format!("creating {}", args.out.display()))?;
    let mut rows: Vec<Row> = match path.exists() {
        true => serde_json::from_value(json_file::read(&path)?)?,
        false => Vec::new(),
    };
    for seed in 1..=args.seeds.get() as u64 {
        for Method { name, how } in &METHODS {
            if rows.iter().any(|row| row.method == *name && row.seed == seed) {
                continue;
            }
            println!("{name}, seed {seed}");
            rows.push(one(args, name, how, seed, &device)?);
            json_file::write(&path, &rows)?;
        }
    }
    print(&rows);
    draw(&rows, &args.out.join("table.svg"))
}

/// One run, measured on the held-out problems before and after, on some of the validation problems between.
fn one(args: &TableArgs, name: &str, how: &How, seed: u64, device: &Device) -> Result<Row> {
    let purpose = Purpose::Training(DType::F32);
    let mut checkpoint = Checkpoint::open(&model_in(&args.model), purpose, device)?;
    let speech = Speech::of(&mut checkpoint, None)?;
    let stop = speech.ends().to_vec();
    let mut scorer = RewardMix::parse("exact")?.scorer();
    let exam = Exam {
        task: Task::Arithmetic,
        speech: &speech,
        stop: &stop,
        max_new_tokens: BUDGET,
        batch_size: 100,
    };
    let config = *checkpoint.model.config();
    let mut tuning = Tuning::new(config, checkpoint.parameters, optimizer(how))?;
    let twin = GptModern::new(&config, tuning.parameters.inference().root())?;
    let of =
        |examples| Ok::<_, anyhow::Error>(questions(examples, &speech, config.context, BUDGET)?.0);
    let held_out = of(Task::Arithmetic.all(None)?)?;
    let problems = Task::Arithmetic.problems(None)?;
    let looked_at = of(problems.validation)?;
    let start = exam.greedy(&twin, &held_out, &mut *scorer)?.0.pass_at_1;
    let begin = Instant::now();
    let mut curve = vec![(0, start)];
    let tokens = match how {
        How::Demonstrations => demonstrated(args, &mut tuning, &speech, seed)?,
        How::Rewards(baseline, aggregation) => {
            let config = rewarding((*baseline, *aggregation), stop.clone(), args, seed);
            let reference = Some(Reference::new(&tuning, Kind::Fixed)?);
            let total = config.steps.schedule.total;
            let looks = Looks { exam, questions: &looked_at, interval: total.div_ceil(6) };
            let mut log = RunLog::new(total, 0, total)?;
            let learned = of(problems.train)?;
            let mut around = Surroundings { reference, scorer: &mut *scorer, looks };
            train(&mut tuning, learned, &config, &mut around, &Outputs::default(), &mut log)?;
            curve.extend(log.looks.iter().skip(1));
            log.tokens
        }
    };
    let minutes = begin.elapsed().as_secs_f64() / 60.;
    let found = exam.greedy(&twin, &held_out, &mut *scorer)?.0;
    curve.push((tokens, found.pass_at_1));
    let (right, form_forgiven) = (found.pass_at_1, found.form_forgiven);
    Ok(Row { method: name.into(), seed, start, right, form_forgiven, tokens, minutes, curve })
}

/// Learns from as many tokens of right answers as the other methods draw; gives their number.
fn demonstrated(
    args: &TableArgs,
    tuning: &mut Tuning,
    speech: &Speech,
    seed: u64,
) -> Result<usize> {
    let all = demonstrations(args.tokens.get() / 3, Demos::Clean, seed);
    let data = tokenize(&all, speech, tuning.config.context)?.examples;
    let answers: usize = data.iter().map(sft::Tokens::targets).sum();
    let steps = (data.len() * args.tokens.get().min(answers) / answers / 64).max(1);
    let data = &data[..data.len().min(steps * 64)];
    let how = TrainConfig {
        batch_size: 64,
        accumulate: 1,
        curriculum: Curriculum::Shuffled,
        rows: Rows::Padded,
        schedule: schedule(args.lr, steps),
        optimizer: optimizer(&How::Demonstrations),
        grad_clip: 1.,
        seed,
    };
    let mut log = sft::RunLog::new(steps, 0, 0, steps)?;
    sft::train(tuning, data, &how, None, &Outputs::default(), &mut log)?;
    Ok(data.iter().map(sft::Tokens::targets).sum())
}

fn optimizer(how: &How) -> AdamWConfig {
    let beta2 = if matches!(how, How::Demonstrations) { 0.99 } else { 0.95 };
    AdamWConfig { beta2, weight_decay: 0., ..AdamWConfig::default() }
}

fn schedule(peak: f64, total: usize) -> Schedule {
    Schedule { peak, floor: peak / 10., warmup: total / 20, total, decay: Decay::Cosine }
}

fn rewarding(
    (baseline, aggregation): (Baseline, Aggregation),
    stop: Vec<u32>,
    args: &TableArgs,
    seed: u64,
) -> GrpoConfig {
    let each = 3.5 * (PROMPTS * SAMPLES) as f64; // an answer is about 3.5 tokens long
    let steps = (args.tokens.get() as f64 / each).ceil() as usize;
    let sampler = Sampler::new(Choice::at(1., None, None, None));
    GrpoConfig {
        prompts: PROMPTS,
        rollout: RolloutConfig { samples: SAMPLES, sampler, max_new_tokens: BUDGET, stop },
        judgement: Judgement { overlong: Overlong::Scored, baseline, epsilon: 1e-4, aggregation },
        objective: Objective {
            clip: Clip::symmetric(0.2),
            kl: Some((Kl::K3Weighted, 0.003)),
            importance_cap: None,
        },
        reference: Some(Kind::Fixed),
        steps: StepConfig {
            updates: 1,
            groups_each: PROMPTS,
            schedule: schedule(args.lr, steps),
            optimizer: optimizer(&How::Rewards(baseline, aggregation)),
            grad_clip: 1.,
            most_tokens: Some(args.tokens.get()),
        },
        seed,
    }
}

/// Mean and sample standard deviation.
fn spread(values: &[f64]) -> (f64, f64) {
    let n = values.len() as f64;
    let mean = values.iter().sum::<f64>() / n;
    let variance =
        values.iter().map(|value| (value - mean).powi(2)).sum::<f64>() / (n - 1.).max(1.);
    (mean, variance.sqrt())
}

fn print(rows: &[Row]) {
    println!(
        "| method | seeds | held out, before | after | form forgiven, after | tokens drawn | minutes |"
    );
    println!("| --- | --- | --- | --- | --- | --- | --- |");
    for Method { name, .. } in &METHODS {
        let rows: Vec<&Row> = rows.iter().filter(|row| row.method == *name).collect();
        let all = |of: fn(&Row) -> f64| spread(&rows.iter().map(|row| of(row)).collect::<Vec<_>>());
        let (start, (right, std)) = (all(|row| row.start).0, all(|row| row.right));
        let (forgiven, tokens, minutes) = (
            all(|row| row.form_forgiven).0,
            all(|row| row.tokens as f64).0,
            all(|row| row.minutes).0,
        );
        println!(
            "| {name} | {} | {start:.3} | {right:.3} ± {std:.3} | {forgiven:.3} | {tokens:.0} | {minutes:.1} |",
            rows.len()
        );
    }
}

/// How each method rises, in the mean over its seeds, against the tokens drawn.
fn draw(rows: &[Row], path: &Path) -> Result<()> {
    let mut curves = Vec::new();
    for Method { name, .. } in &METHODS {
        let rows: Vec<&Row> = rows.iter().filter(|row| row.method == *name).collect();
        let mut points: BTreeMap<usize, Vec<(usize, f64)>> = BTreeMap::new();
        for row in &rows {
            for (look, point) in row.curve.iter().enumerate() {
                points.entry(look).or_default().push(*point);
            }
        }
        let mut curve = Curve::new(*name);
        for points in points.values() {
            let n = points.len();
            let tokens = points.iter().map(|(tokens, _)| tokens).sum::<usize>() / n;
            curve.push(tokens, points.iter().map(|(_, right)| right).sum::<f64>() / n as f64);
        }
        curves.push(curve);
    }
    loss_curve::write_measure(path, &curves.iter().collect::<Vec<_>>(), "right, by tokens drawn")?;
    println!("the curves are in {}", path.display());
    Ok(())
}
