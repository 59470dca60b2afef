//! What `part_9 train` says at its end.

use anyhow::Result;
use scaling::resume::how_to_go_on;
use serde_json::json;
use sft::Tuning;

use super::arguments::TrainArgs;

/// What came of it.
pub(super) fn report(
    args: &TrainArgs,
    tuning: &Tuning,
    total: usize,
    tokens: usize,
    times: crate::figures::Times,
) -> Result<()> {
    let step = tuning.state.step;
    let seconds = times.total().as_secs_f64();
    let share = |part: std::time::Duration| part.as_secs_f64() / seconds.max(1e-9);
    let [generation, scoring, training] =
        [times.generation, times.scoring, times.training].map(share);
    println!(
        "{seconds:.0} s: {:.0} % of it writing, {:.0} % scoring, {:.0} % training",
        100. * generation,
        100. * scoring,
        100. * training
    );
    let saved = if args.lora.lora_rank.is_some() { "adapter" } else { "model" };
    match step == total {
        true => println!("the best {saved} is in {}", args.out.join(saved).display()),
        false => println!("{}", how_to_go_on("part_9", step, total, &args.out)),
    }
    if args.run.json {
        let best = tuning.state.best.map(|badness| -badness);
        println!(
            "{}",
            json!({
                "step": step, "reward": best, "tokens": tokens, "seconds": seconds, "saved": args.out.join(saved),
                "share_generation": generation, "share_scoring": scoring, "share_training": training,
            })
        );
    }
    Ok(())
}
