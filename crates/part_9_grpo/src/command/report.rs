//! Printed summary and report of a run.

use anyhow::Result;
use experiment::resume::resume_hint;
use serde_json::json;
use sft::TrainState;

use super::arguments::TrainArgs;
use crate::RunState;
use crate::step_metrics::PhaseTimings;

/// Prints the parameter counts, the numbers of training, validation and dropped problems, and the
/// reward.
pub(super) fn print_run_summary(
    args: &TrainArgs,
    train_state: &TrainState,
    [n_train, n_validation, n_dropped]: [usize; 3],
) {
    println!("{}", train_state.parameter_summary());
    println!(
        "{n_train} problems for training, {n_validation} for validation; {n_dropped} were dropped \
         because their prompt is too long; reward: {}",
        args.task.reward_spec()
    );
}

/// Prints timings, steps without a signal, and where the result is or how to resume.
pub(super) fn print_run_report(
    args: &TrainArgs,
    train_state: &TrainState,
    total: usize,
    run_state: &RunState,
    timings: PhaseTimings,
) -> Result<()> {
    let step = train_state.progress.step;
    let seconds = timings.total().as_secs_f64();
    let [generation, log_probs, training] = timings.fractions();
    println!(
        "{seconds:.0} s: {:.0} % generation, {:.0} % log-probs, {:.0} % training",
        100. * generation,
        100. * log_probs,
        100. * training
    );
    if run_state.zero_advantage_steps > 0 {
        println!(
            "in {} of {step} steps no completion was better than the others of its group, so there \
             was nothing to learn from",
            run_state.zero_advantage_steps
        );
    }
    let saved = if args.lora.lora_rank.is_some() { "adapter" } else { "model" };
    match step == total {
        true => println!("the best {saved} is in {}", args.out.join(saved).display()),
        false => println!("{}", resume_hint("part_9", step, total, &args.out)),
    }
    if args.run.json {
        let val_reward = train_state.progress.best_loss.map(|best| -best);
        let report = json!({
            "step": step, "val_reward": val_reward, "tokens": run_state.n_tokens,
            "zero_advantage_steps": run_state.zero_advantage_steps, "seconds": seconds,
            "saved": args.out.join(saved), "generation_time_fraction": generation,
            "log_probs_time_fraction": log_probs, "training_time_fraction": training,
        });
        println!("{report}");
    }
    Ok(())
}
