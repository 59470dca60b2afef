//! `part_9 perfectible`: a sanity test of the algorithms, on problems that a model solves sometimes
//! (Qi et al., <https://arxiv.org/abs/2510.26788>, section 4).
//!
//! A problem that is never solved gives no reward to learn from, and one that is always solved
//! teaches nothing. Where a model solves 20 to 80 % of its samples, each problem can be learned
//! from the model's own completions: such a set is perfectible. An algorithm that is sound, with a
//! sensible rate and budget, exceeds a training accuracy of 95 % on it. It says nothing about other
//! problems: to solve a set by heart is enough.

mod perfectible_run;

use anyhow::{Result, ensure};
use candle_core::DType;
use datasets::SplitSpec;
use experiment::machine::processor_seconds;
use experiment::train_state::parameters_sha256;
use model_io::{LoadMode, ModelConfig};
use modern::{Checkpoint, GptModern};
use perfectible_run::{ALGORITHMS, Algorithm, Trainer, TrainingMetrics};
use ppo::prompts::tokenize_prompts;
use ppo::{CompletionEvalConfig, PromptExample};
use serde_json::json;
use sft::ChatTokenizer;
use sft::finetuned::resolve_model_path;
use tensor_core::{Parameters, Rng, atomic_file, sha256};

use super::algorithms::{MAX_NEW_TOKENS, rollout_config};
use super::table::TableSettings;
use super::table_arguments::PerfectibleArgs;
use crate::evaluation::GrpoEvaluator;
use crate::results_table::{ResultsTable, RunResult};
use crate::task::Task;

/// Training accuracy that a sound algorithm exceeds.
pub(crate) const BAR: f64 = 0.95;
/// Problems that are sampled at a time.
const CHUNK: usize = 50;
/// Problems that are sampled at most, as a multiple of those that are asked for.
const MAX_SAMPLED: usize = 20;

pub(super) fn run(args: &PerfectibleArgs) -> Result<()> {
    let table_args = &args.table;
    let device = args.table.compute.open_device()?;
    let path = resolve_model_path(&table_args.policy.model)?;
    let open = || Checkpoint::open(&path, LoadMode::Training(DType::F32), &device);
    let mut checkpoint = open()?;
    let chat_tokenizer = ChatTokenizer::from_checkpoint(&mut checkpoint, None)?;
    let model_config = *checkpoint.model.config();
    let base = GptModern::new(&model_config, checkpoint.parameters.for_inference().root())?;
    let eval_config = CompletionEvalConfig {
        chat_tokenizer: &chat_tokenizer,
        max_new_tokens: MAX_NEW_TOKENS,
        batch_size: CHUNK * args.samples.get(),
    };
    let trainer = Trainer {
        args,
        evaluator: GrpoEvaluator { task: Task::Arithmetic, eval_config },
        problems: perfectible_problems(args, &base, eval_config)?,
    };
    let problems = problem_rows(&trainer.problems);
    let settings = TableSettings {
        model: table_args.policy.model.clone(),
        base_sha256: parameters_sha256(&checkpoint.parameters)?,
        tokens: table_args.tokens.get(),
        lr: table_args.lr,
        problems_sha256: Some(sha256::hash_bytes(problems.as_bytes())),
    };
    let mut table = ResultsTable::open(&table_args.out, settings)?;
    atomic_file::write(&table_args.out.join("problems.jsonl"), problems.as_bytes())?;
    let before = trainer.evaluate(&base)?;
    println!(
        "{} problems, each solved in 20 to 80 % of {} samples; training accuracy {:.3}",
        trainer.problems.len(),
        args.samples,
        before.training_accuracy
    );
    for seed in 1..=table_args.seeds.get() as u64 {
        for algorithm in ALGORITHMS {
            if !table.contains_run(algorithm.name(), seed) {
                println!("{}, seed {seed}", algorithm.name());
                let parameters = open()?.parameters;
                table.add_run(run_result(
                    &trainer,
                    algorithm,
                    &model_config,
                    parameters,
                    &before,
                    seed,
                )?)?;
            }
        }
    }
    table.print_training_accuracy(&ALGORITHMS.map(Algorithm::name), BAR);
    Ok(())
}

/// Result of a run of `algorithm` from `parameters`, a model with the metrics `before`.
fn run_result(
    trainer: &Trainer<'_>,
    algorithm: Algorithm,
    model: &ModelConfig,
    parameters: Parameters,
    before: &TrainingMetrics,
    seed: u64,
) -> Result<RunResult> {
    let begin = processor_seconds();
    let steps = trainer.steps(before.length_mean);
    let (model, n_tokens) = trainer.train(algorithm, model, parameters, steps, seed)?;
    let cpu_minutes = (processor_seconds() - begin) / 60.;
    let after = trainer.evaluate(&model)?;
    println!("training accuracy {:.3} after {steps} steps", after.training_accuracy);
    Ok(RunResult {
        method: algorithm.name().into(),
        seed,
        exact_match_before: before.exact_match,
        exact_match: after.exact_match,
        relaxed_match: after.relaxed_match,
        training_accuracy: Some(after.training_accuracy),
        plateau: None,
        n_tokens,
        cpu_minutes,
        curve: Vec::new(),
    })
}

/// Training problems that `base` solves in 20 to 80 % of its samples, in random order, as many as
/// asked for.
fn perfectible_problems(
    args: &PerfectibleArgs,
    base: &GptModern,
    eval_config: CompletionEvalConfig<'_>,
) -> Result<Vec<PromptExample>> {
    let CompletionEvalConfig { chat_tokenizer, max_new_tokens, .. } = eval_config;
    let rows = args.data.clone().map(|file| Task::Arithmetic.read_files(&[file])).transpose()?;
    let mut examples = match rows {
        Some(rows) => rows,
        None => Task::Arithmetic.load_dataset(None, None, SplitSpec::Problems)?.splits.train,
    };
    let mut rng = Rng::new(args.table.compute.seed);
    rng.shuffle(&mut examples);
    let context_len = base.config().context_len;
    let (prompts, _) = tokenize_prompts(examples, chat_tokenizer, context_len, max_new_tokens)?;
    let evaluator = GrpoEvaluator { task: Task::Arithmetic, eval_config };
    let (n, samples) = (args.problems.get(), args.samples.get());
    let rollout = rollout_config(samples, chat_tokenizer);
    let (mut kept, mut n_sampled) = (Vec::new(), 0);
    for chunk in prompts[..prompts.len().min(MAX_SAMPLED * n)].chunks(CHUNK) {
        let n_right = evaluator.count_right(base, chunk, &rollout, &mut rng)?;
        let of_chunk = chunk.iter().zip(n_right);
        kept.extend(of_chunk.filter(|(_, n)| is_perfectible(*n, samples)).map(|(p, _)| p.clone()));
        n_sampled += chunk.len();
        if kept.len() >= n {
            break;
        }
    }
    kept.truncate(n);
    ensure!(
        !kept.is_empty(),
        "the model solves none of {n_sampled} problems in 20 to 80 % of {samples} samples: \
         fine-tune it longer, or stop earlier (part_6 train --target-exact-match 0.6)"
    );
    println!("sampled {samples} completions for each of {n_sampled} problems");
    Ok(kept)
}

/// True if 20 to 80 % of `samples` are right.
pub(crate) fn is_perfectible(n_right: usize, samples: usize) -> bool {
    (samples..=4 * samples).contains(&(5 * n_right))
}

/// Rows of `problems`, as --data takes them.
fn problem_rows(problems: &[PromptExample]) -> String {
    let row = |PromptExample { example, .. }: &PromptExample| {
        let prompt = example.prompt.last().map(|message| &message.content);
        format!("{}\n", json!({ "prompt": prompt, "answer": example.completion }))
    };
    problems.iter().map(row).collect()
}
