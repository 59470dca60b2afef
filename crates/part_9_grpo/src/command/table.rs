//! `part_9 table`: a comparison of algorithms on the arithmetic task, from one base model and with
//! the same number of sampled tokens.
//!
//! Each run becomes a row of the table when it has finished. Existing rows are not run again, so
//! the command can be interrupted and restarted at any time.

use std::time::Instant;

use anyhow::Result;
use candle_core::{DType, Device};
use model_io::LoadMode;
use modern::{Checkpoint, GptModern};
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
use crate::{Aggregation, Baseline, GrpoContext, GrpoLog, RunState, Task, train};

pub(super) fn run(args: &TableArgs) -> Result<()> {
    let device = args.compute.open_device()?;
    let checkpoint = open_checkpoint(&args.model, LoadMode::Training(DType::F32), &device)?;
    let base_sha256 = parameters_sha256(checkpoint.parameters.iter())?;
    let (model, tokens, lr) = (args.model.clone(), args.tokens.get(), args.lr);
    let settings = TableSettings { model, base_sha256, tokens, lr };
    let mut table = ResultsTable::open(&args.out, settings)?;
    let mut comparison = AlgorithmComparison::new(args, checkpoint, &device)?;
    for seed in 1..=args.seeds.get() as u64 {
        for Algorithm { name, kind } in &ALGORITHMS {
            if !table.contains_run(name, seed) {
                println!("{name}, seed {seed}");
                table.add_run(comparison.run_algorithm(name, *kind, seed)?)?;
            }
        }
    }
    let names = ALGORITHMS.map(|algorithm| algorithm.name);
    table.print(&names);
    table.write_curves(&names, &args.out.join("table.svg"))
}

fn open_checkpoint(model: &str, load_mode: LoadMode, device: &Device) -> Result<Checkpoint> {
    Checkpoint::open(&resolve_model_path(model), load_mode, device)
}

/// Everything that all runs share.
struct AlgorithmComparison<'a> {
    args: &'a TableArgs,
    device: &'a Device,
    chat_tokenizer: ChatTokenizer,
    reward_fn: Box<RewardFn>,
    train_prompts: Vec<PromptExample>,
    validation_prompts: Vec<PromptExample>,
    test_prompts: Vec<PromptExample>,
    /// Metrics of the base model on the validation and the test prompts.
    initial_metrics: [GrpoEvalMetrics; 2],
}

/// Result of training: the model for inference, the number of sampled tokens, and exact match on
/// the validation prompts during training.
struct TrainedRun {
    model: GptModern,
    n_tokens: usize,
    curve: Vec<(usize, f64)>,
}

impl<'a> AlgorithmComparison<'a> {
    fn new(args: &'a TableArgs, mut checkpoint: Checkpoint, device: &'a Device) -> Result<Self> {
        let chat_tokenizer = ChatTokenizer::from_checkpoint(&mut checkpoint, None)?;
        let config = *checkpoint.model.config();
        let prompts = |examples| -> Result<Vec<PromptExample>> {
            let context_len = config.context_len;
            Ok(tokenize_prompts(examples, &chat_tokenizer, context_len, MAX_NEW_TOKENS)?.0)
        };
        let dataset = Task::Arithmetic.load_dataset(None, None)?;
        let train_prompts = prompts(dataset.train)?;
        let validation_prompts = prompts(dataset.validation)?;
        let test_prompts = prompts(Task::Arithmetic.file_or_test_examples(None)?)?;
        let model = GptModern::new(&config, checkpoint.parameters.for_inference().root())?;
        let evaluator = evaluator(&chat_tokenizer);
        let mut reward_fn = ppo::reward_fn::exact_match_reward_fn();
        let mut metrics = |prompts: &[PromptExample]| -> Result<GrpoEvalMetrics> {
            Ok(evaluator.evaluate_greedy(&model, prompts, &mut *reward_fn)?.0)
        };
        let initial_metrics = [metrics(&validation_prompts)?, metrics(&test_prompts)?];
        Ok(Self {
            args,
            device,
            chat_tokenizer,
            reward_fn,
            train_prompts,
            validation_prompts,
            test_prompts,
            initial_metrics,
        })
    }

    /// One run, evaluated on the test prompts before and after, and on the validation prompts in
    /// between.
    fn run_algorithm(&mut self, name: &str, kind: AlgorithmKind, seed: u64) -> Result<RunResult> {
        let begin = Instant::now();
        let TrainedRun { model, n_tokens, mut curve } = match kind {
            AlgorithmKind::Sft => self.train_sft(seed)?,
            AlgorithmKind::Ppo => self.train_ppo(seed)?,
            AlgorithmKind::PolicyGradient(baseline, aggregation) => {
                self.train_policy_gradient(baseline, aggregation, seed)?
            }
        };
        let minutes = begin.elapsed().as_secs_f64() / 60.;
        let Self { chat_tokenizer, reward_fn, validation_prompts, test_prompts, .. } = self;
        let evaluator = evaluator(chat_tokenizer);
        let test = evaluator.evaluate_greedy(&model, test_prompts, &mut **reward_fn)?.0;
        let validation = evaluator.evaluate_greedy(&model, validation_prompts, &mut **reward_fn)?.0;
        let [initial_validation, initial_test] = &self.initial_metrics;
        curve.insert(0, (0, initial_validation.exact_match));
        curve.push((n_tokens, validation.exact_match));
        Ok(RunResult {
            method: name.into(),
            seed,
            exact_match_before: initial_test.exact_match,
            exact_match: test.exact_match,
            relaxed_match: test.relaxed_match,
            n_tokens,
            minutes,
            curve,
        })
    }

    /// Train state with the weights of the base model.
    fn new_train_state(&self, kind: AlgorithmKind) -> Result<TrainState> {
        let load_mode = LoadMode::Training(DType::F32);
        let checkpoint = open_checkpoint(&self.args.model, load_mode, self.device)?;
        let config = *checkpoint.model.config();
        TrainState::new(config, checkpoint.parameters, optimizer_config(kind))
    }

    /// Number of steps in which the base model would sample the tokens of the table.
    fn n_steps(&self) -> usize {
        steps_for_tokens(self.args, self.initial_metrics[1].length_mean)
    }

    fn train_sft(&self, seed: u64) -> Result<TrainedRun> {
        let mut train_state = self.new_train_state(AlgorithmKind::Sft)?;
        let n_tokens = run_sft(self.args, &mut train_state, &self.chat_tokenizer, seed)?;
        Ok(TrainedRun { model: inference_model(&train_state)?, n_tokens, curve: Vec::new() })
    }

    fn train_ppo(&self, seed: u64) -> Result<TrainedRun> {
        let out = self.args.out.join(format!("ppo-{seed}"));
        let n_tokens = run_ppo(self.args, self.n_steps(), seed, &out)?;
        let path = out.to_string_lossy();
        let model = open_checkpoint(&path, LoadMode::Inference, self.device)?.model;
        Ok(TrainedRun { model, n_tokens, curve: Vec::new() })
    }

    fn train_policy_gradient(
        &mut self,
        baseline: Baseline,
        aggregation: Aggregation,
        seed: u64,
    ) -> Result<TrainedRun> {
        let steps = self.n_steps();
        let kind = AlgorithmKind::PolicyGradient(baseline, aggregation);
        let mut train_state = self.new_train_state(kind)?;
        let model = inference_model(&train_state)?;
        let stop_token_ids = self.chat_tokenizer.stop_token_ids().to_vec();
        let config =
            policy_gradient_config((baseline, aggregation), stop_token_ids, steps, self.args, seed);
        let reference = Some(ReferenceModel::new(&train_state, ReferenceUpdate::Fixed)?);
        let validation = GrpoValidation {
            evaluator: evaluator(&self.chat_tokenizer),
            prompts: &self.validation_prompts,
            interval: steps.div_ceil(6),
        };
        let reward_fn = &mut *self.reward_fn;
        let mut context = GrpoContext { reference, reward_fn, validation };
        let mut log = GrpoLog::new(steps, 0, RunState::default(), steps)?;
        let (prompts, outputs) = (self.train_prompts.clone(), RunOutputs::default());
        train(&mut train_state, prompts, &config, &mut context, &outputs, &mut log)?;
        let n_tokens = log.run_state.n_tokens;
        let curve = log.validation_by_tokens[1..].iter().copied().filter(|(at, _)| *at < n_tokens);
        Ok(TrainedRun { model, n_tokens, curve: curve.collect() })
    }
}

/// Model for inference with the weights of `train_state`, in the same memory.
fn inference_model(train_state: &TrainState) -> Result<GptModern> {
    Ok(GptModern::new(&train_state.config, train_state.parameters.for_inference().root())?)
}

fn evaluator(chat_tokenizer: &ChatTokenizer) -> GrpoEvaluator<'_> {
    let eval_config =
        CompletionEvalConfig { chat_tokenizer, max_new_tokens: MAX_NEW_TOKENS, batch_size: 100 };
    GrpoEvaluator { task: Task::Arithmetic, eval_config }
}
