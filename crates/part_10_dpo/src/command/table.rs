//! `part_10 table`: pairs of others, pairs of its own, a teacher and a reward, each training the
//! same noisy model on sums; over several seeds, each with a model of its own.
//!
//! The programs of parts 6, 8, 9 and 10 are called, so that every row can be repeated on the
//! command line. Each run becomes a row when it has finished; the command can be interrupted and
//! restarted at any time.

mod method;

use std::ffi::OsString;
use std::fmt;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};

use anyhow::{Result, ensure};
use candle_core::Device;
use clap::Args;
use experiment::Interrupt;
use experiment::flags::ComputeFlags;
use experiment::machine::processor_seconds;
use grpo::evaluation::MatchMetrics;
use grpo::results_table::{ResultsTable, RunResult};
use grpo::{GrpoEvaluator, Task};
use method::{InitialModel, Method, Program};
use model_io::LoadMode;
use modern::Checkpoint;
use ppo::CompletionEvalConfig;
use ppo::prompts::tokenize_prompts;
use ppo::reward_fn::exact_match_reward_fn;
use serde::{Deserialize, Serialize};
use sft::ChatTokenizer;
use sft::finetuned::resolve_model_path;

const MAX_NEW_TOKENS: usize = 8;

#[derive(Args)]
#[command(mut_arg("seed", |arg| arg.default_value("1").help("Seed of the first noisy model")))]
pub(super) struct TableArgs {
    /// Steps of 64 prompts with 16 completions each: GRPO, PPO, iterated DPO, rejection sampling
    #[arg(long, value_name = "N", default_value = "100")]
    steps: NonZeroUsize,
    /// Steps of the noisy model's fine-tuning [default: that of part 6]
    #[arg(long, value_name = "N")]
    sft_steps: Option<NonZeroUsize>,
    /// Steps of the noisy model's base [default: that of part 6]
    #[arg(long, value_name = "N")]
    base_steps: Option<NonZeroUsize>,
    /// Methods, separated by commas [default: all]
    #[arg(long, value_name = "NAMES", value_enum, value_delimiter = ',')]
    methods: Vec<Method>,
    /// Noisy models, and runs of each method
    #[arg(long, value_name = "N", default_value = "5")]
    seeds: NonZeroUsize,
    /// Folder of the runs and the results; finished runs in it are not repeated
    #[arg(long, visible_alias = "output-dir", value_name = "DIR", default_value = "runs/methods")]
    out: PathBuf,
    #[command(flatten)]
    compute: ComputeFlags,
}

/// Settings that all runs of the table share.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct TableSettings {
    steps: NonZeroUsize,
    sft_steps: Option<NonZeroUsize>,
    base_steps: Option<NonZeroUsize>,
}

impl fmt::Display for TableSettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "of {} steps", self.steps)?;
        let models = [("base", self.base_steps), ("fine-tuning", self.sft_steps)];
        for (name, steps) in models {
            steps.map_or(Ok(()), |steps| write!(f, ", {steps} of {name}"))?;
        }
        Ok(())
    }
}

pub(super) fn run(args: &TableArgs, part_10: Program) -> Result<()> {
    let device = args.compute.open_device()?;
    let TableArgs { steps, sft_steps, base_steps, ref out, .. } = *args;
    let methods = if args.methods.is_empty() { Method::all() } else { &args.methods };
    let mut table = ResultsTable::open(out, TableSettings { steps, sft_steps, base_steps })?;
    ensure_teachers(args, methods)?;
    for seed in args.run_seeds() {
        // In the order of the table: a student needs its teacher.
        for &method in Method::all().iter().filter(|method| methods.contains(method)) {
            if table.contains_run(method.name(), seed) {
                continue;
            }
            let noisy = method.initial_model().folder(out, seed);
            train_noisy_model(args, method.initial_model(), seed)?;
            let before = evaluate(&noisy, &device)?;
            println!("{}, seed {seed}", method.name());
            let folder = method.folder(out, seed);
            let begin = processor_seconds();
            train(args, (method, method.program(part_10)), &noisy, &folder, seed)?;
            let cpu_minutes = (processor_seconds() - begin) / 60.;
            let after = evaluate(&folder, &device)?;
            let (n_tokens, plateau) = method.tokens_and_plateau(&folder)?;
            table.add_run(RunResult {
                method: method.name().into(),
                seed,
                exact_match_before: before.exact_match,
                exact_match: after.exact_match,
                relaxed_match: after.relaxed_match,
                training_accuracy: None,
                plateau,
                n_tokens,
                cpu_minutes,
                curve: vec![(0, before.exact_match), (n_tokens, after.exact_match)],
            })?;
        }
    }
    let names: Vec<String> = methods.iter().map(|method| method.name().to_string()).collect();
    table.print(&names);
    table.print_plateaus(&names);
    Ok(())
}

impl TableArgs {
    /// Seeds of the runs: --seed, and those that follow it.
    fn run_seeds(&self) -> impl Iterator<Item = u64> {
        (0..self.seeds.get() as u64).map(|i| self.compute.seed.wrapping_add(i))
    }
}

/// Checks that a student's teacher, GRPO's model, is trained before it or is there.
fn ensure_teachers(args: &TableArgs, methods: &[Method]) -> Result<()> {
    let student = methods.iter().find(|method| method.has_teacher());
    let has_teacher = methods.contains(&Method::Grpo)
        || args.run_seeds().all(|seed| Method::Grpo.folder(&args.out, seed).exists());
    let name = student.map_or("", |student| student.name());
    ensure!(
        student.is_none() || has_teacher,
        "{name}: its teacher is GRPO's model, which is not in {}: add --methods grpo",
        args.out.display()
    );
    Ok(())
}

/// Fine-tunes the noisy model of `seed`, unless a run has started from it.
fn train_noisy_model(args: &TableArgs, initial: InitialModel, seed: u64) -> Result<()> {
    let mut methods = Method::all().iter().filter(|method| method.initial_model() == initial);
    if methods.any(|method| method.folder(&args.out, seed).exists()) {
        return Ok(());
    }
    println!("the noisy model, seed {seed}");
    let mut flags = format!("--demonstrations noisy {}", initial.flags());
    for (flag, steps) in [("--base-steps", args.base_steps), ("--steps", args.sft_steps)] {
        if let Some(steps) = steps {
            flags = format!("{flags} {flag} {steps}");
        }
    }
    let noisy = initial.folder(&args.out, seed);
    run_program(args, sft::command::parse_and_run, &flags, &[("--out", &noisy)], seed)
}

/// Trains the model in `noisy` with `method` into `folder`.
fn train(
    args: &TableArgs,
    (method, program): (Method, Program),
    noisy: &Path,
    folder: &Path,
    seed: u64,
) -> Result<()> {
    let teacher = Method::Grpo.folder(&args.out, seed);
    let mut paths = vec![("--model", noisy), ("--out", folder)];
    if method.has_teacher() {
        paths.push(("--teacher", &teacher));
    }
    let flags = format!("--eval-interval 0 --log-interval 1 {}", method.flags(args.steps.get()));
    run_program(args, program, &flags, &paths, seed)
}

/// Runs `program train` with these flags, separated by spaces, these paths, and the flags of every
/// run.
///
/// # Errors
/// Those of the program, and when it was interrupted: what it saved is not the whole run.
fn run_program(
    args: &TableArgs,
    program: Program,
    flags: &str,
    paths: &[(&str, &Path)],
    seed: u64,
) -> Result<()> {
    let interrupt = Interrupt::listen()?;
    let ComputeFlags { device, threads, .. } = args.compute;
    let threads = threads.map_or(String::new(), |n| format!("--threads {n}"));
    let flags = format!("table train {flags} --seed {seed} --device {device} {threads}");
    let mut words: Vec<OsString> = flags.split_whitespace().map(OsString::from).collect();
    words.extend(paths.iter().flat_map(|(flag, path)| [flag.into(), path.into()]));
    program(words)?;
    ensure!(!interrupt.is_requested(), "interrupted; the same command goes on with what is done");
    Ok(())
}

/// Shares of right greedy completions of the model in `run` for the test problems.
fn evaluate(run: &Path, device: &Device) -> Result<MatchMetrics> {
    let path = resolve_model_path(&run.to_string_lossy())?;
    let mut checkpoint = Checkpoint::open(&path, LoadMode::Inference, device)?;
    let chat_tokenizer = ChatTokenizer::from_checkpoint(&mut checkpoint, None)?;
    let context_len = checkpoint.model.config().context_len;
    let examples = Task::Arithmetic.test_examples()?;
    let (prompts, _) = tokenize_prompts(examples, &chat_tokenizer, context_len, MAX_NEW_TOKENS)?;
    let eval_config = CompletionEvalConfig {
        chat_tokenizer: &chat_tokenizer,
        max_new_tokens: MAX_NEW_TOKENS,
        batch_size: 100,
    };
    let evaluator = GrpoEvaluator { task: Task::Arithmetic, eval_config };
    let reward_fn = &mut *exact_match_reward_fn();
    evaluator.evaluate_greedy(&checkpoint.model, &prompts, reward_fn, 0)?.0.matches()
}
