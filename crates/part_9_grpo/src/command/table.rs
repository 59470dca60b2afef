//! `part_9 table`: the methods beside each other, from one start, on the arithmetic task, each with as many drawn tokens as the others.
//!
//! Each run is a row of the table, written when it has ended; what is there is not run again, so the command can be stopped and
//! started at any time.

use std::time::Instant;

use anyhow::{Error, Result};
use candle_core::{DType, Device};
use modern::{Checkpoint, GptModern, LoadMode};
use ppo::prompts::tokenize_prompts;
use ppo::{CompletionEvalConfig, PromptExample, RewardFn};
use sft::finetuned::resolve_model_path;
use sft::train_state::parameters_sha256;
use sft::{ChatTokenizer, RunOutputs, TrainState};

use super::algorithms::{
    ALGORITHMS, Algorithm, AlgorithmKind, MAX_NEW_TOKENS, optimizer_config, policy_gradient_config,
    run_ppo, run_sft, steps_for_tokens,
};
use super::arguments::TableArgs;
use super::results_table::{ResultsTable, RunResult, TableSettings};
use crate::evaluation::{GrpoEvalMetrics, GrpoEvaluator};
use crate::reference::{ReferenceModel, ReferenceUpdate};
use crate::training::GrpoValidation;
use crate::{GrpoContext, GrpoLog, RunState, Task, train};

pub(super) fn run(args: &TableArgs) -> Result<()> {
    let device = args.compute.open_device()?;
    let checkpoint = open_checkpoint(&args.model, LoadMode::Training(DType::F32), &device)?;
    let start = parameters_sha256(checkpoint.parameters.iter())?;
    let (model, tokens) = (args.model.clone(), args.tokens.get());
    let mut table = ResultsTable::open(
        &args.out,
        TableSettings { model, base_sha256: start, tokens, lr: args.lr },
    )?;
    let mut contest = AlgorithmComparison::new(args, checkpoint, &device)?;
    for seed in 1..=args.seeds.get() as u64 {
        for Algorithm { name, kind: how } in &ALGORITHMS {
            if !table.contains_run(name, seed) {
                println!("{name}, seed {seed}");
                table.add_run(contest.run_algorithm(name, *how, seed)?)?;
            }
        }
    }
    let names = ALGORITHMS.map(|method| method.name);
    table.print(&names);
    table.write_curves(&names, &args.out.join("table.svg"))
}

fn open_checkpoint(model: &str, purpose: LoadMode, device: &Device) -> Result<Checkpoint> {
    Checkpoint::open(&resolve_model_path(model), purpose, device)
}

/// What all runs have in common.
struct AlgorithmComparison<'a> {
    args: &'a TableArgs,
    device: &'a Device,
    chat_tokenizer: ChatTokenizer,
    reward_fn: Box<RewardFn>,
    /// The problems to learn from, to look at on the way, and to report of.
    train_prompts: Vec<PromptExample>,
    validation_prompts: Vec<PromptExample>,
    test_prompts: Vec<PromptExample>,
    /// How the start does at the last two.
    initial_metrics: [GrpoEvalMetrics; 2],
}

impl<'a> AlgorithmComparison<'a> {
    fn new(args: &'a TableArgs, mut checkpoint: Checkpoint, device: &'a Device) -> Result<Self> {
        let speech = ChatTokenizer::from_checkpoint(&mut checkpoint, None)?;
        let config = *checkpoint.model.config();
        let of = |examples| {
            Ok::<_, Error>(
                tokenize_prompts(examples, &speech, config.context_len, MAX_NEW_TOKENS)?.0,
            )
        };
        let problems = Task::Arithmetic.load_dataset(None, None)?;
        let (learned, looked_at) = (of(problems.train)?, of(problems.validation)?);
        let held_out = of(Task::Arithmetic.file_or_test_examples(None)?)?;
        let twin = GptModern::new(&config, checkpoint.parameters.for_inference().root())?;
        let (exam, mut scorer) = (evaluator(&speech), ppo::reward_fn::exact_match_reward_fn());
        let mut of =
            |questions: &[PromptExample]| exam.evaluate_greedy(&twin, questions, &mut *scorer);
        let start = [of(&looked_at)?.0, of(&held_out)?.0];
        Ok(Self {
            args,
            device,
            chat_tokenizer: speech,
            reward_fn: scorer,
            train_prompts: learned,
            validation_prompts: looked_at,
            test_prompts: held_out,
            initial_metrics: start,
        })
    }

    /// One run: the held-out problems before and after, and on the way the validation problems.
    fn run_algorithm(&mut self, name: &str, how: AlgorithmKind, seed: u64) -> Result<RunResult> {
        let Self {
            args,
            device,
            chat_tokenizer: speech,
            reward_fn: scorer,
            validation_prompts: looked_at,
            test_prompts: held_out,
            ..
        } = self;
        let checkpoint = open_checkpoint(&args.model, LoadMode::Training(DType::F32), device)?;
        let config = *checkpoint.model.config();
        let mut tuning = TrainState::new(config, checkpoint.parameters, optimizer_config(how))?;
        let mut twin = GptModern::new(&config, tuning.parameters.for_inference().root())?;
        let (exam, [looked, start]) = (evaluator(speech), &self.initial_metrics);
        let steps = steps_for_tokens(args, start.length_mean);
        let mut curve = vec![(0, looked.exact_match)];
        let begin = Instant::now();
        let tokens = match how {
            AlgorithmKind::Sft => run_sft(args, &mut tuning, speech, seed)?,
            AlgorithmKind::Ppo => {
                let out = args.out.join(format!("ppo-{seed}"));
                let tokens = run_ppo(args, steps, seed, &out)?;
                twin = open_checkpoint(&out.to_string_lossy(), LoadMode::Inference, device)?.model;
                tokens
            }
            AlgorithmKind::PolicyGradient(baseline, aggregation) => {
                let stop = speech.stop_token_ids().to_vec();
                let config =
                    policy_gradient_config((baseline, aggregation), stop, steps, args, seed);
                let reference = Some(ReferenceModel::new(&tuning, ReferenceUpdate::Fixed)?);
                let looks = GrpoValidation {
                    evaluator: exam,
                    prompts: looked_at,
                    interval: steps.div_ceil(6),
                };
                let mut log = GrpoLog::new(steps, 0, RunState::default(), steps)?;
                let mut around =
                    GrpoContext { reference, reward_fn: &mut **scorer, validation: looks };
                let learned = self.train_prompts.clone();
                train(
                    &mut tuning,
                    learned,
                    &config,
                    &mut around,
                    &RunOutputs::default(),
                    &mut log,
                )?;
                let tokens = log.run_state.n_tokens;
                curve.extend(log.validation_curve[1..].iter().filter(|(at, _)| *at < tokens));
                tokens
            }
        };
        let minutes = begin.elapsed().as_secs_f64() / 60.;
        let found = exam.evaluate_greedy(&twin, held_out, &mut **scorer)?.0;
        curve.push((tokens, exam.evaluate_greedy(&twin, looked_at, &mut **scorer)?.0.exact_match));
        Ok(RunResult {
            method: name.into(),
            seed,
            exact_match_before: start.exact_match,
            exact_match: found.exact_match,
            relaxed_match: found.relaxed_match,
            n_tokens: tokens,
            minutes,
            curve,
        })
    }
}

fn evaluator(speech: &ChatTokenizer) -> GrpoEvaluator<'_> {
    let asking = CompletionEvalConfig {
        chat_tokenizer: speech,
        max_new_tokens: MAX_NEW_TOKENS,
        batch_size: 100,
    };
    GrpoEvaluator { task: Task::Arithmetic, eval_config: asking }
}
