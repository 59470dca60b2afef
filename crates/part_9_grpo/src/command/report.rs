//! What `part_9 train` says before and after.

use anyhow::Result;
use scaling::resume::resume_hint;
use serde_json::json;
use sft::TrainState;

use super::arguments::TrainArgs;
use crate::RunState;
use crate::step_metrics::PhaseTimings;

/// What learns, and from what: problems to learn from, to look at, and left out.
pub(super) fn print_run_summary(
    args: &TrainArgs,
    tuning: &TrainState,
    [learned, looked_at, left_out]: [usize; 3],
) {
    println!("{}", tuning.parameter_summary());
    println!(
        "{learned} problems to learn from, {looked_at} to look at; {left_out} were left out, as they are too long; paid for: {}",
        args.task.reward_spec()
    );
}

/// What came of it.
pub(super) fn print_run_report(
    args: &TrainArgs,
    tuning: &TrainState,
    total: usize,
    so_far: &RunState,
    times: PhaseTimings,
) -> Result<()> {
    let step = tuning.progress.step;
    let seconds = times.total().as_secs_f64();
    let [generation, scoring, training] = times.fractions();
    println!(
        "{seconds:.0} s: {:.0} % of it writing, {:.0} % scoring, {:.0} % training",
        100. * generation,
        100. * scoring,
        100. * training
    );
    if so_far.zero_advantage_steps > 0 {
        println!(
            "in {} of {step} steps no completion was better than the others of its group, and nothing was learned from them",
            so_far.zero_advantage_steps
        );
    }
    let saved = if args.lora.lora_rank.is_some() { "adapter" } else { "model" };
    match step == total {
        true => println!("the best {saved} is in {}", args.out.join(saved).display()),
        false => println!("{}", resume_hint("part_9", step, total, &args.out)),
    }
    if args.run.json {
        let best = tuning.progress.best_loss.map(|badness| -badness);
        println!(
            "{}",
            json!({
                "step": step, "val_reward": best, "tokens": so_far.n_tokens, "zero_advantage_steps": so_far.zero_advantage_steps, "seconds": seconds,
                "saved": args.out.join(saved),
                "generation_time_fraction": generation, "log_probs_time_fraction": scoring, "training_time_fraction": training,
            })
        );
    }
    Ok(())
}
