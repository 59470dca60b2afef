//! `part_9 eval`: exact match of greedy completions, pass@k of sampled ones, and a comparison with
//! the reference model.

use std::num::NonZeroUsize;
use std::path::Path;

use anyhow::Result;
use candle_core::Device;
use datasets::{DatasetFlags, Example, HeldOutRows};
use experiment::metrics_writer::extend_row;
use experiment::model_runs::settings_of_runs;
use experiment::program::ensure_usage;
use modern::sampler::{Sampler, SamplingStrategy};
use ppo::reference::reference_of_finetuned;
use ppo::{CompletionEvalConfig, PolicyComparison, RewardFn, RolloutConfig, compare_to_reference};
use serde_json::{Value, json};
use sft::{ChatTokenizer, FinetunedModel};
use tensor_core::Rng;

use super::arguments::EvalArgs;
use crate::evaluation::{
    ExactMatchChange, GrpoEvalMetrics, GrpoEvaluator, MatchMetrics, PassAtKMetrics,
    describe_completion,
};
use crate::flags::{TaskFlags, check_rollout_size};

pub(super) fn run(mut args: EvalArgs) -> Result<()> {
    args.finetuned.template = args.task.prompts.chat_format(args.finetuned.template);
    evaluate(&args)
}

fn evaluate(args: &EvalArgs) -> Result<()> {
    args.task.check()?;
    let (group_size, k) = (args.group_size.get(), args.k.get());
    ensure_usage(
        k <= group_size,
        format!("--k {k} needs a --group-size of at least {k}, not {group_size}"),
    )?;
    let max_new_tokens = args.task.max_new_tokens();
    check_rollout_size(args.batch_size.get().div_ceil(group_size), group_size, max_new_tokens)?;
    let device = args.compute.open_device()?;
    let examples = load_eval_examples(args)?;
    let finetuned = args.finetuned.open(&device)?;
    let reference =
        reference_of_finetuned(&args.finetuned, args.reference.as_deref(), &finetuned, &device)?;
    let FinetunedModel { model, chat_tokenizer, .. } = finetuned;
    let context_len = model.config().context_len;
    let (mut prompts, n_dropped) =
        args.task.prompt_examples(examples, &chat_tokenizer, context_len)?;
    prompts.truncate(args.eval_examples.map_or(prompts.len(), NonZeroUsize::get));
    if n_dropped > 0 {
        println!("{n_dropped} problems were dropped because their prompt is too long");
    }
    let mut reward_fn = open_reward_fn(args, &chat_tokenizer, &device)?;
    let eval_config = CompletionEvalConfig {
        chat_tokenizer: &chat_tokenizer,
        max_new_tokens,
        batch_size: args.batch_size.get(),
    };
    let task = args.task.task;
    let evaluator = GrpoEvaluator { task, eval_config };
    let (metrics, completions) = evaluator.evaluate_greedy(&model, &prompts, &mut *reward_fn, 0)?;
    let rollout = RolloutConfig::new(
        group_size,
        Sampler::new(SamplingStrategy::new(args.temperature, None, None, None)),
        max_new_tokens,
        chat_tokenizer.stop_token_ids().to_vec(),
    );
    let mut rng = Rng::new(args.compute.seed);
    let pass_at_k = match task.has_answers() {
        true => Some(evaluator.evaluate_sampled(&model, &prompts, &rollout, k, &mut rng)?),
        false => None,
    };
    let comparison = reference.map(|reference| {
        let (greedy, reward_fn) = (SamplingStrategy::Greedy, &mut *reward_fn);
        let prompts = &prompts;
        compare_to_reference(&model, &reference, prompts, eval_config, greedy, reward_fn, &mut rng)
    });
    let comparison = comparison.transpose()?;
    let before = comparison
        .as_ref()
        .map(|(_, [_, theirs])| GrpoEvalMetrics::from_completions(task, &prompts, theirs));
    let comparison = comparison.as_ref().map(|(comparison, _)| comparison);
    let change = before.and_then(|before| exact_match_change(&before, &metrics));
    if args.json {
        println!("{}", metrics_json(&metrics, pass_at_k.as_ref(), comparison, change)?);
        return Ok(());
    }
    let shown = prompts.iter().zip(&completions).take(args.num_completions_to_print);
    shown.for_each(|(prompt, one)| println!("{}\n", describe_completion(task, prompt, one)));
    print_metrics(&metrics, pass_at_k.as_ref(), comparison, change);
    Ok(())
}

/// Reward function for completions of a policy with `chat_tokenizer`.
fn open_reward_fn(
    args: &EvalArgs,
    chat_tokenizer: &ChatTokenizer,
    device: &Device,
) -> Result<Box<RewardFn>> {
    let variables = args.finetuned.chat_template.variables(&args.finetuned.model)?;
    Ok(args.task.open_reward_fn(chat_tokenizer, &variables, device)?.reward_fn)
}

/// Exact match of the reference and of the policy; `None` for prompts without answers.
fn exact_match_change(
    before: &GrpoEvalMetrics,
    after: &GrpoEvalMetrics,
) -> Option<ExactMatchChange> {
    let (before, after) = before.matches.zip(after.matches)?;
    Some(ExactMatchChange { before: before.exact_match, after: after.exact_match })
}

/// Metrics as a JSON object.
fn metrics_json(
    metrics: &GrpoEvalMetrics,
    pass_at_k: Option<&PassAtKMetrics>,
    comparison: Option<&PolicyComparison>,
    change: Option<ExactMatchChange>,
) -> Result<Value> {
    let mut report = serde_json::to_value(metrics)?;
    if let Some(pass_at_k) = pass_at_k {
        extend_row(&mut report, serde_json::to_value(pass_at_k)?);
    }
    if let Some(comparison) = comparison {
        let comparison = serde_json::to_value(comparison)?;
        for key in ["reward_ref_mean", "win_rate", "win_rate_low", "win_rate_high"] {
            report[key] = comparison[key].clone();
        }
        for key in ["kl", "kl_per_completion", "kl_length_mean"] {
            report[key] = comparison[key].clone();
        }
    }
    if let Some(change) = change {
        report["exact_match_ref"] = change.before.into();
        report["exact_match_points"] = change.points().into();
    }
    Ok(report)
}

/// Prints the metrics.
fn print_metrics(
    metrics: &GrpoEvalMetrics,
    pass_at_k: Option<&PassAtKMetrics>,
    comparison: Option<&PolicyComparison>,
    change: Option<ExactMatchChange>,
) {
    let GrpoEvalMetrics { n, matches, reward_mean, length_mean, eos_rate } = *metrics;
    if let Some(matches) = matches {
        let MatchMetrics { exact_match, exact_match_low, exact_match_high, relaxed_match } =
            matches;
        println!(
            "{n} problems, greedy: exact match {exact_match:.3}, 95 % interval \
             {exact_match_low:.3} to {exact_match_high:.3}; relaxed match {relaxed_match:.3}"
        );
    }
    println!("reward {reward_mean:.3}, length {length_mean:.1} tokens, eos {eos_rate:.3}");
    if let Some(PassAtKMetrics { temperature, pass_at_1, k, pass_at_k }) = pass_at_k {
        let of_k = if *k > 1 { format!(", pass@{k} {pass_at_k:.3}") } else { String::new() };
        println!("temperature {temperature}: pass@1 {pass_at_1:.3}{of_k}");
    }
    if let Some(change) = change {
        println!("from the reference to the policy: {change}");
    }
    let Some(comparison) = comparison else { return };
    let PolicyComparison { reward_ref_mean, win_rate, win_rate_low, win_rate_high, .. } =
        *comparison;
    let kl = comparison.kl_per_completion;
    println!(
        "reward of the reference {reward_ref_mean:.3}; win rate {win_rate:.3}, 95 % interval \
         {win_rate_low:.3} to {win_rate_high:.3}; KL to the reference {kl:.3} nats per completion"
    );
}

/// Problems of the evaluation: the test problems, or those of --data. If a run that led to the
/// model was trained on some of these, only those that it held out.
fn load_eval_examples(args: &EvalArgs) -> Result<Vec<Example>> {
    let task = args.task.task;
    let runs = settings_of_runs(Path::new(args.finetuned.trained_model()))?;
    let named = eval_data_of_run(&args.task, runs.first());
    let flags = named.as_ref().unwrap_or(&args.task);
    let load =
        || -> Result<Vec<Example>> { flags.load_rows()?.map_or_else(|| task.test_examples(), Ok) };
    let Some(data) = flags.file_data() else { return load() };
    let load_of_run = |run: &Value, seed: u64| -> Result<Vec<Example>> {
        let of_run = TaskFlags {
            data: run["data"].as_str().map(Into::into),
            dataset: DatasetFlags::of_run(run),
            ..args.task.clone()
        };
        Ok(of_run.load_rows_drawn_by(seed)?.unwrap_or_default())
    };
    let held_out = HeldOutRows::new(&runs, (&flags.dataset, data), load_of_run, load)?;
    held_out.print();
    Ok(held_out.rows)
}

/// Flags of the validation problems of the latest `run`, if it names a file of them (--eval-file)
/// and the problems of `task` are those that it was trained on.
fn eval_data_of_run(task: &TaskFlags, run: Option<&Value>) -> Option<TaskFlags> {
    let (run, data) = (run?, task.file_data()?);
    let is_own = run["task"] == json!(task.task) && task.dataset.is_data_of(run, data);
    let file = run["eval_file"].as_str().filter(|_| is_own)?;
    println!("evaluating on the run's validation problems, as those of --data trained it");
    let dataset = task.dataset.for_evaluation(file, run["eval_split"].as_str());
    Some(TaskFlags { data: Some(file.to_string()), dataset, ..task.clone() })
}
