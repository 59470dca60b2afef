//! Printed summary and report of a run.

use experiment::RunSetup;
use serde_json::json;

use super::arguments::TrainArgs;
use crate::policy::Policy;

/// Prints the parameter counts, the numbers of training, validation and dropped problems, and the
/// reward.
pub(super) fn print_run_summary(
    args: &TrainArgs,
    policy: &Policy,
    n_train: usize,
    n_validation: usize,
    n_dropped: usize,
) {
    println!("{}", policy.state.parameter_summary());
    println!(
        "{n_train} problems for training, {n_validation} for validation; {n_dropped} were dropped \
         because their prompt is too long; reward: {}",
        args.task.reward_spec()
    );
}

/// Prints timings, steps without a signal, and where the result is or how to resume. `n_tokens` is
/// the number of sampled tokens, `model` the folder of the best model in the run folder.
pub(super) fn print_run_report(
    setup: &RunSetup<'_>,
    policy: &Policy,
    n_tokens: usize,
    tokens_per_second: f64,
    model: &str,
) {
    let (progress, step) = (&policy.progress, policy.state.progress.step);
    let (seconds, fractions) = (progress.timings.total(), progress.timings.fractions());
    println!(
        "{seconds:.0} s: {:.0} % generation, {:.0} % log-probs, {:.0} % training",
        100. * fractions.generation,
        100. * fractions.log_probs,
        100. * fractions.training
    );
    if progress.zero_advantage_steps > 0 {
        println!(
            "in {} of {step} steps no completion was better than the others of its group, so there \
             was nothing to learn from",
            progress.zero_advantage_steps
        );
    }
    let result = json!({
        "step": step, "val_reward": policy.state.progress.best_loss.map(|best| -best),
        "tokens": n_tokens, "zero_advantage_steps": progress.zero_advantage_steps,
        "seconds": seconds, "saved": setup.out.join(model),
        "generation_time_fraction": fractions.generation,
        "log_probs_time_fraction": fractions.log_probs,
        "training_time_fraction": fractions.training,
    });
    setup.print_report("part_9", &policy.state.progress, tokens_per_second, model, result);
}
