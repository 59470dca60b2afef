//! `part_9 eval`: how often a model is right, in one try and in several, and how it compares with what it was.

use std::path::Path;

use anyhow::{Result, ensure};
use modern::sampler::{Sampler, SamplingStrategy};
use ppo::reference::reference_of_finetuned;
use ppo::{CompletionEvalConfig, PolicyComparison, RolloutConfig, compare_to_reference};
use scaling::metrics_writer::extend_row;
use serde_json::{Value, json};
use sft::{Example, FinetunedModel, one_line};
use tensor_core::Rng;
use tiny_gpt::RunFolder;
use tiny_gpt::command::as_usage_error;

use super::arguments::EvalArgs;
use crate::evaluation::{GrpoEvalMetrics, GrpoEvaluator, PassAtKMetrics};
use crate::flags::check_rollout_size;
use crate::task_flags::TaskFlags;

pub(super) fn run(args: &EvalArgs) -> Result<()> {
    args.task.check()?;
    let (samples, k) = (args.group_size.get(), args.k.get());
    as_usage_error((|| {
        ensure!(k <= samples, "--k {k} needs at least as many --group-size, not {samples}");
        Ok(())
    })())?;
    check_rollout_size(
        args.batch_size.get().div_ceil(samples),
        samples,
        args.task.max_new_tokens(),
    )?;
    let device = args.compute.open_device()?;
    let examples = load_eval_examples(args)?;
    let tuned = args.finetuned.open(&device)?;
    let reference =
        reference_of_finetuned(&args.finetuned, args.reference.as_deref(), &tuned, &device)?;
    let FinetunedModel { model, chat_tokenizer: speech, .. } = tuned;
    let (context, budget) = (model.config().context_len, args.task.max_new_tokens());
    let (mut asked, left_out) = args.task.prompt_examples(examples, &speech, context)?;
    asked.truncate(args.eval_examples.map_or(asked.len(), std::num::NonZeroUsize::get));
    if left_out > 0 {
        println!("{left_out} problems were left out, as they are too long");
    }
    let mut scorer = args.task.open_reward_fn(&speech, &device)?.reward_fn;
    let asking = CompletionEvalConfig {
        chat_tokenizer: &speech,
        max_new_tokens: budget,
        batch_size: args.batch_size.get(),
    };
    let exam = GrpoEvaluator { task: args.task.task, eval_config: asking };
    let (found, judged) = exam.evaluate_greedy(&model, &asked, &mut *scorer)?;
    let choice = SamplingStrategy::new(args.temperature, None, None, None);
    let sampler = Sampler::new(choice);
    let drawn = RolloutConfig {
        group_size: samples,
        sampler,
        max_new_tokens: budget,
        stop_token_ids: speech.stop_token_ids().to_vec(),
    };
    let mut rng = Rng::new(args.compute.seed);
    let tries = exam.evaluate_sampled(&model, &asked, &drawn, k, &mut rng)?;
    let beside = reference.map(|reference| {
        let both = [&model, &reference];
        compare_to_reference(both, &asked, asking, SamplingStrategy::Greedy, &mut *scorer, &mut rng)
    });
    let beside = beside.transpose()?.map(|(comparison, _)| comparison);
    if args.json {
        println!("{}", metrics_json(&found, &tries, beside.as_ref())?);
        return Ok(());
    }
    for (question, judged) in asked.iter().zip(&judged).take(4) {
        let said = question.example.prompt.last().map_or("", |message| &message.content);
        println!("question  {}", one_line(said));
        println!("  answer  {:.2}  {}", judged.reward, one_line(&judged.text));
    }
    print_metrics(&found, &tries, beside.as_ref());
    Ok(())
}

/// The figures as an object.
fn metrics_json(
    found: &GrpoEvalMetrics,
    tries: &PassAtKMetrics,
    beside: Option<&PolicyComparison>,
) -> Result<Value> {
    let mut report = serde_json::to_value(found)?;
    extend_row(&mut report, serde_json::to_value(tries)?);
    if let Some(beside) = beside {
        let beside = serde_json::to_value(beside)?;
        let shared =
            ["reward_ref_mean", "win_rate", "win_rate_low", "win_rate_high", "kl", "kl_per_token"];
        for key in shared {
            report[key] = beside[key].clone();
        }
    }
    Ok(report)
}

/// The figures, in words.
fn print_metrics(
    found: &GrpoEvalMetrics,
    tries: &PassAtKMetrics,
    beside: Option<&PolicyComparison>,
) {
    let GrpoEvalMetrics {
        n,
        exact_match,
        exact_match_low,
        exact_match_high,
        relaxed_match: form_forgiven,
        ..
    } = *found;
    println!(
        "{n} problems, the likeliest completion of each: right {exact_match:.3} ({exact_match_low:.3} to {exact_match_high:.3}), with the \
         form forgiven {form_forgiven:.3}"
    );
    let GrpoEvalMetrics { reward_mean, length_mean, eos_rate, .. } = *found;
    println!("reward {reward_mean:.3}, {length_mean:.1} tokens, ended by itself {eos_rate:.3}");
    let PassAtKMetrics { temperature, pass_at_1, k, pass_at_k } = *tries;
    println!("drawn at temperature {temperature}: pass@1 {pass_at_1:.3}, pass@{k} {pass_at_k:.3}");
    if let Some(&PolicyComparison {
        reward_ref_mean,
        win_rate,
        win_rate_low,
        win_rate_high,
        kl,
        ..
    }) = beside
    {
        println!(
            "the reference earns {reward_ref_mean:.3}; win rate {win_rate:.3} ({win_rate_low:.3} to {win_rate_high:.3}), {kl:.3} nats away"
        );
    }
}

/// What is asked: held-out problems, or those of a file; of the file that the run learned from, the problems that it decided by.
fn load_eval_examples(args: &EvalArgs) -> Result<Vec<Example>> {
    let TaskFlags { task, data, .. } = &args.task;
    let run = RunFolder::read_settings(Path::new(&args.finetuned.model))?;
    let same = run.filter(|run| {
        data.is_some() && run["data"] == json!(data) && run["task"] == json!(task) // which only part 9's runs have
    });
    let Some(run) = same else { return task.file_or_test_examples(data.as_deref()) };
    println!("asked is what the run decided by; the rest it has learned from");
    Ok(task.load_dataset(data.as_deref(), run["eval_file"].as_str())?.validation)
}
