//! `part_9 table`: the methods beside each other, from one start, on the arithmetic task, each with as many drawn tokens as the others.
//!
//! Each run is a row of the table, written when it has ended; what is there is not run again, so the command can be stopped and
//! started at any time.

use std::time::Instant;

use anyhow::Result;
use candle_core::{DType, Device};
use modern::sampler::{Choice, Sampler};
use modern::{Checkpoint, GptModern, Purpose};
use ppo::prompts::questions;
use ppo::{Asking, Clip, RolloutConfig};
use scaling::Schedule;
use sft::questions::{Demos, demonstrations};
use sft::tuned::model_in;
use sft::{Outputs, Speech, TrainConfig, Tuning, tokenize};
use tensor_core::AdamWConfig;

use super::arguments::TableArgs;
use super::rows::{Row, Settings, Table};
use crate::evaluation::Exam;
use crate::experience::Judgement;
use crate::reference::{Kind, Reference};
use crate::training::Looks;
use crate::{
    Aggregation, Baseline, GrpoConfig, Kl, Objective, Overlong, RewardMix, RunLog, StepConfig,
    Surroundings, Task, train,
};

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

pub(super) fn run(args: &TableArgs) -> Result<()> {
    let device = args.compute.open()?;
    let settings = Settings { model: args.model.clone(), tokens: args.tokens.get(), lr: args.lr };
    let mut table = Table::open(&args.out, settings)?;
    for seed in 1..=args.seeds.get() as u64 {
        for Method { name, how } in &METHODS {
            if table.has(name, seed) {
                continue;
            }
            println!("{name}, seed {seed}");
            table.add(one(args, name, how, seed, &device)?)?;
        }
    }
    let names = METHODS.map(|method| method.name);
    table.print(&names);
    table.draw(&names, &args.out.join("table.svg"))
}

/// One run, measured on the held-out problems before and after, on some of the validation problems between.
fn one(args: &TableArgs, name: &str, how: &How, seed: u64, device: &Device) -> Result<Row> {
    let purpose = Purpose::Training(DType::F32);
    let mut checkpoint = Checkpoint::open(&model_in(&args.model), purpose, device)?;
    let speech = Speech::of(&mut checkpoint, None)?;
    let mut scorer = RewardMix::parse("exact")?.scorer();
    let asking = Asking { speech: &speech, max_new_tokens: BUDGET, batch_size: 100 };
    let exam = Exam { task: Task::Arithmetic, asking };
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
            let config = rewarding((*baseline, *aggregation), speech.ends().to_vec(), args, seed);
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
    let optimizer = optimizer(&How::Demonstrations);
    let how = TrainConfig { optimizer, ..TrainConfig::usual(64, steps, args.lr, seed) };
    let mut log = sft::RunLog::new(steps, 0, 0, steps)?;
    sft::train(tuning, data, &how, None, &Outputs::default(), &mut log)?;
    Ok(data.iter().map(sft::Tokens::targets).sum())
}

fn optimizer(how: &How) -> AdamWConfig {
    let beta2 = if matches!(how, How::Demonstrations) { 0.99 } else { 0.95 };
    AdamWConfig { beta2, weight_decay: 0., ..AdamWConfig::default() }
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
            schedule: Schedule::cosine(args.lr, steps),
            optimizer: optimizer(&How::Rewards(baseline, aggregation)),
            grad_clip: 1.,
            most_tokens: Some(args.tokens.get()),
        },
        seed,
    }
}
