//! What `part_8` says before and after.

use anyhow::Result;
use scaling::resume::resume_hint;
use serde_json::json;

use super::arguments::TrainArgs;
use crate::{ActorCritic, PolicyComparison, PpoConfig};

/// What is learned, and by how much of the models.
pub(super) fn print_run_summary(
    learner: &ActorCritic,
    config: &PpoConfig,
    n: usize,
    left_out: usize,
) {
    let (trained, all) = learner.policy.parameter_counts();
    let (critic, _) = learner.critic.parameter_counts();
    println!(
        "{n} questions{}",
        match left_out {
            0 => String::new(),
            _ =>
                format!("; {left_out} were left out, as their prompt leaves no room for an answer"),
        }
    );
    println!(
        "{all} parameters of the policy, of which {trained} are trained, and {critic} of the critic; a rollout is {} prompts with {} \
         responses each",
        config.prompts_per_step, config.rollout.group_size
    );
}

/// What came of a run.
pub(super) fn print_run_report(
    args: &TrainArgs,
    learner: &ActorCritic,
    total: usize,
) -> Result<()> {
    let (state, out) = (&learner.policy.progress, &args.out);
    let saved = if args.lora.lora_rank.is_some() { "adapter" } else { "model" };
    let place = out.join(saved);
    match state.step == total || state.target_reached {
        true => println!("the best {saved} is in {}", place.display()),
        false => println!("{}", resume_hint("part_8", state.step, total, &args.out)),
    }
    if args.run.json {
        let report = json!({
            "step": state.step, "val_reward": state.best_loss.map(|best| -best), "target_reached": state.target_reached,
            "kl_coef": learner.progress.kl_coef, "updates": learner.progress.updates, saved: place,
        });
        println!("{report}");
    }
    Ok(())
}

/// A comparison in words.
pub(super) fn print_comparison(found: &PolicyComparison) {
    let PolicyComparison { n, reward_mean, reward_ref_mean, win_rate, .. } = *found;
    let PolicyComparison { win_rate_low, win_rate_high, kl, length_mean, eos_rate, .. } = *found;
    println!("{n} questions: mean score {reward_mean:.3}, of the reference {reward_ref_mean:.3}");
    println!(
        "win rate {win_rate:.3}, between {win_rate_low:.3} and {win_rate_high:.3} with 95 % confidence (ties count half)"
    );
    println!(
        "KL to the reference {kl:.3} nats a response; {length_mean:.1} tokens long, {eos_rate:.3} ended by themselves"
    );
    if let (Some(exact), Some(forgiven)) = (found.exact_match, found.relaxed_match) {
        let before = found.exact_match_ref.unwrap_or_default();
        let forgiven_before = found.relaxed_match_ref.unwrap_or_default();
        println!("exact match {exact:.3}, with the form forgiven {forgiven:.3}");
        println!("of the reference {before:.3}, with the form forgiven {forgiven_before:.3}");
    }
}
