//! Printed summary and report of a run.

use anyhow::Result;
use experiment::resume::resume_hint;
use serde_json::json;

use super::arguments::TrainArgs;
use crate::{ActorCritic, PolicyComparison, PpoConfig};

/// Prints the size of the data and of the models.
pub(super) fn print_run_summary(
    actor_critic: &ActorCritic,
    config: &PpoConfig,
    n: usize,
    n_dropped: usize,
) {
    let (trained, all) = actor_critic.policy.parameter_counts();
    let (critic, _) = actor_critic.critic.parameter_counts();
    println!(
        "{n} prompts{}",
        match n_dropped {
            0 => String::new(),
            _ => format!("; {n_dropped} were dropped because they leave no room for a completion"),
        }
    );
    println!(
        "policy: {all} parameters, {trained} trained; critic: {critic} parameters; rollout: {} \
         prompts with {} completions each",
        config.prompts_per_step, config.rollout.group_size
    );
}

/// Prints where the result is, or how to resume.
pub(super) fn print_run_report(
    args: &TrainArgs,
    actor_critic: &ActorCritic,
    total: usize,
) -> Result<()> {
    let (progress, out) = (&actor_critic.policy.progress, &args.out);
    let saved = if args.lora.lora_rank.is_some() { "adapter" } else { "model" };
    let path = out.join(saved);
    match progress.step == total || progress.target_reached {
        true => println!("the best {saved} is in {}", path.display()),
        false => println!("{}", resume_hint("part_8", progress.step, total, &args.out)),
    }
    if args.run.json {
        let report = json!({
            "step": progress.step, "val_reward": progress.best_loss.map(|best| -best),
            "target_reached": progress.target_reached, "kl_coef": actor_critic.progress.kl_coef,
            "updates": actor_critic.progress.updates, saved: path,
        });
        println!("{report}");
    }
    Ok(())
}

/// Prints a comparison.
pub(super) fn print_comparison(comparison: &PolicyComparison) {
    let PolicyComparison { n, reward_mean, reward_ref_mean, win_rate, .. } = *comparison;
    let PolicyComparison { win_rate_low, win_rate_high, kl, length_mean, eos_rate, .. } =
        *comparison;
    println!("{n} prompts: mean reward {reward_mean:.3}, of the reference {reward_ref_mean:.3}");
    println!(
        "win rate {win_rate:.3}, 95 % interval {win_rate_low:.3} to {win_rate_high:.3} (ties \
         count half)"
    );
    println!(
        "KL to the reference {kl:.3} nats per completion; length {length_mean:.1} tokens, eos \
         {eos_rate:.3}"
    );
    if let (Some(exact), Some(relaxed)) = (comparison.exact_match, comparison.relaxed_match) {
        let exact_ref = comparison.exact_match_ref.unwrap_or_default();
        let relaxed_ref = comparison.relaxed_match_ref.unwrap_or_default();
        println!("exact match {exact:.3}, relaxed match {relaxed:.3}");
        println!("of the reference {exact_ref:.3}, relaxed {relaxed_ref:.3}");
    }
}
