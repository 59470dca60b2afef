//! `part_10 table`: pairs of others, pairs of its own, a teacher and a reward, each training the
//! same noisy model on sums; over several seeds, each with a model of its own.
//!
//! The programs of parts 6, 8, 9 and 10 are called, so that every row can be repeated on the
//! command line. Each run becomes a row when it has finished; the command can be interrupted and
//! restarted at any time.

use std::ffi::OsString;
use std::fmt;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use candle_core::Device;
use clap::Args;
use experiment::Interrupt;
use experiment::flags::ComputeFlags;
use experiment::machine::processor_seconds;
use grpo::evaluation::MatchMetrics;
use grpo::results_table::{ResultsTable, RunResult};
use grpo::{GrpoEvaluator, Task};
use model_io::LoadMode;
use modern::Checkpoint;
use ppo::CompletionEvalConfig;
use ppo::prompts::tokenize_prompts;
use ppo::reward_fn::exact_match_reward_fn;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use sft::ChatTokenizer;
use sft::finetuned::resolve_model_path;

const MAX_NEW_TOKENS: usize = 8;

#[derive(Args)]
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

/// Row of the table. [`Self::Grpo`] comes before its student.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Method {
    Dpo,
    DpoWithSft,
    IteratedDpo,
    RejectionSampling,
    Grpo,
    Distillation,
    Ppo,
}

const METHODS: [Method; 7] = [
    Method::Dpo,
    Method::DpoWithSft,
    Method::IteratedDpo,
    Method::RejectionSampling,
    Method::Grpo,
    Method::Distillation,
    Method::Ppo,
];

/// Command line of a part in this process.
pub(super) type Program = fn(Vec<OsString>) -> Result<()>;

impl Method {
    /// Name in the table.
    fn name(self) -> &'static str {
        match self {
            Self::Dpo => "DPO on given pairs",
            Self::DpoWithSft => "the same, β 0.5 and SFT weight 0.2",
            Self::IteratedDpo => "iterated DPO",
            Self::RejectionSampling => "rejection sampling",
            Self::Grpo => "GRPO",
            Self::Distillation => "distillation from GRPO's model",
            Self::Ppo => "PPO",
        }
    }

    /// Name of the run folder of `seed`.
    fn folder(self, out: &Path, seed: u64) -> PathBuf {
        let name = match self {
            Self::Dpo => "dpo",
            Self::DpoWithSft => "dpo-sft",
            Self::IteratedDpo => "iterated",
            Self::RejectionSampling => "rejection",
            Self::Grpo => "grpo",
            Self::Distillation => "distilled",
            Self::Ppo => "ppo",
        };
        out.join(format!("{name}-{seed}"))
    }

    /// Program that trains with this method; `part_10` is this one.
    fn program(self, part_10: Program) -> Program {
        match self {
            Self::Grpo => grpo::command::parse_and_run,
            Self::Ppo => ppo::command::parse_and_run,
            _ => part_10,
        }
    }

    /// Its flags beside those of every run, for `steps` steps of the sampling methods.
    fn flags(self, steps: usize) -> String {
        let sampling = format!("--prompts-per-round 64 --group-size 16 --steps {steps}");
        match self {
            Self::Dpo => String::new(),
            Self::DpoWithSft => "--beta 0.5 --sft-weight 0.2".into(),
            Self::IteratedDpo => format!("--online pairs {sampling}"),
            Self::RejectionSampling => format!("--online best {sampling}"),
            // A sixteenth of the completions: a teacher says more about each.
            Self::Distillation => format!(
                "--online distill --prompts-per-round 64 --group-size 4 --steps {} --lr 5e-4",
                steps.div_ceil(4)
            ),
            Self::Grpo => format!(
                "--batch-size 64 --group-size 16 --steps {steps} --kl-coef 0.03 \
                 --kl-estimator k3-weighted --max-new-tokens 8"
            ),
            Self::Ppo => {
                format!("--batch-size 64 --group-size 16 --steps {steps} --max-new-tokens 8")
            }
        }
    }

    /// Number of tokens that the run in `folder` has sampled: the rows of parts 8 and 9 have that
    /// of all steps so far, those of this part that of a round.
    fn n_sampled_tokens(self, folder: &Path) -> Result<usize> {
        let rows = std::fs::read_to_string(folder.join("metrics.jsonl"))?;
        let rows = rows.lines().filter_map(|row| serde_json::from_str::<Value>(row).ok());
        let n_tokens = match self {
            Self::Grpo | Self::Ppo => rows.filter_map(|row| row["tokens"].as_u64()).max(),
            _ => Some(rows.filter_map(|row| row["sampled_tokens"].as_u64()).sum()),
        };
        n_tokens.map(|n| n as usize).context("the run has no row with its tokens")
    }
}

pub(super) fn run(args: &TableArgs, part_10: Program) -> Result<()> {
    let device = args.compute.open_device()?;
    let TableArgs { steps, sft_steps, base_steps, ref out, .. } = *args;
    let mut table = ResultsTable::open(out, TableSettings { steps, sft_steps, base_steps })?;
    for seed in 1..=args.seeds.get() as u64 {
        let noisy = out.join(format!("noisy-{seed}"));
        if METHODS.iter().all(|method| table.contains_run(method.name(), seed)) {
            continue;
        }
        train_noisy_model(args, &noisy, seed)?;
        let before = evaluate(&noisy, &device)?;
        for method in METHODS {
            if table.contains_run(method.name(), seed) {
                continue;
            }
            println!("{}, seed {seed}", method.name());
            let folder = method.folder(out, seed);
            let begin = processor_seconds();
            train(args, (method, method.program(part_10)), &noisy, &folder, seed)?;
            let cpu_minutes = (processor_seconds() - begin) / 60.;
            let after = evaluate(&folder, &device)?;
            let n_tokens = method.n_sampled_tokens(&folder)?;
            table.add_run(RunResult {
                method: method.name().into(),
                seed,
                exact_match_before: before.exact_match,
                exact_match: after.exact_match,
                relaxed_match: after.relaxed_match,
                training_accuracy: None,
                n_tokens,
                cpu_minutes,
                curve: vec![(0, before.exact_match), (n_tokens, after.exact_match)],
            })?;
        }
    }
    table.print(&METHODS.map(|method| method.name().to_string()));
    Ok(())
}

/// Fine-tunes the noisy model of `seed`, unless a run has started from it.
fn train_noisy_model(args: &TableArgs, noisy: &Path, seed: u64) -> Result<()> {
    if METHODS.iter().any(|method| method.folder(&args.out, seed).exists()) {
        return Ok(());
    }
    println!("the noisy model, seed {seed}");
    let mut flags = "--demonstrations noisy".to_string();
    for (flag, steps) in [("--base-steps", args.base_steps), ("--steps", args.sft_steps)] {
        if let Some(steps) = steps {
            flags = format!("{flags} {flag} {steps}");
        }
    }
    run_program(args, sft::command::parse_and_run, &flags, &[("--out", noisy)], seed)
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
    if method == Method::Distillation {
        paths.push(("--teacher", &teacher));
    }
    let flags = format!("--eval-interval 0 {}", method.flags(args.steps.get()));
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
