//! From the command line to the run, and from the run to what is reported: nothing is lost or swapped on the way.

use anyhow::Result;
use clap::Parser;
use modern::FinishReason;
use ppo::experience::ScoredRollouts;
use ppo::{Clip, PromptExample, RolloutConfig, RolloutGroup, SampledCompletion, ScoredCompletion};
use serde_json::json;
use sft::Example;

use crate::command::algorithms::{ALGORITHMS, AlgorithmKind};
use crate::command::arguments::TrainArgs;
use crate::command::train::grpo_config;
use crate::evaluation::{GrpoEvalMetrics, PassAtKMetrics};
use crate::experience::AdvantageConfig;
use crate::reference::ReferenceUpdate;
use crate::step_metrics::{GrpoStepMetrics, LogRow, PhaseTimings, average_metrics};
use crate::update::GrpoUpdateMetrics;
use crate::{
    Aggregation, Baseline, GrpoConfig, GrpoExperience, Kl, Objective, Overlong, Task, advantages,
};

#[derive(Parser)]
struct Cli {
    #[command(flatten)]
    train: TrainArgs,
}

fn config_from_flags(flags: &str) -> Result<GrpoConfig> {
    let args = Cli::try_parse_from(
        ["part_9", "--model", "m"].into_iter().chain(flags.split_whitespace()),
    )?;
    grpo_config(&args.train, args.train.schedule.schedule()?, vec![7])
}

#[test]
fn every_flag_arrives_where_it_is_used() -> Result<()> {
    let found = config_from_flags(
        "--batch-size 5 --group-size 3 --temperature 0.7 --max-new-tokens 9 --baseline leave-one-out --advantage-epsilon 0.5 \
         --loss-aggregation constant --clip-range 0.1 --clip-range-high 0.28 --kl-estimator k2 --kl-coef 0.4 --ref-model-sync-steps 6 --importance-sampling-cap 2 \
         --mask-truncated-completions --num-iterations 4 --micro-batch-size 2 --steps 11 --lr 0.5 --beta2 0.8 --weight-decay 0.3 --max-grad-norm 0.2 --seed 13",
    )?;
    let RolloutConfig { group_size: samples, max_new_tokens, stop_token_ids: ref stop, .. } =
        found.rollout;
    assert_eq!((found.prompts_per_step, samples, max_new_tokens, &stop[..]), (5, 3, 9, &[7][..]));
    assert_eq!((found.rollout.temperature(), found.seed), (0.7, 13));
    let (baseline, aggregation) = (Baseline::LeaveOneOut, Aggregation::Constant);
    let judgement = AdvantageConfig {
        overlong: Overlong::Masked,
        baseline,
        advantage_epsilon: 0.5,
        loss_aggregation: aggregation,
    };
    assert_eq!(found.advantage, judgement);
    let (clip, kl) = (Clip { low: 0.1, high: 0.28 }, Some((Kl::K2, 0.4)));
    assert_eq!(
        found.objective,
        Objective { clip_range: clip, kl, importance_sampling_cap: Some(2.) }
    );
    assert_eq!(found.reference_update, Some(ReferenceUpdate::SyncEvery(6)));
    let steps = found.update;
    assert_eq!(
        (steps.num_iterations, steps.micro_batch_size, steps.max_sampled_tokens),
        (4, 2, None)
    );
    assert_eq!(
        (steps.schedule.total_steps, steps.schedule.peak_lr, steps.max_grad_norm),
        (11, 0.5, 0.2)
    );
    assert_eq!((steps.optimizer.beta2, steps.optimizer.weight_decay), (0.8, 0.3));

    let usual = config_from_flags("")?;
    assert_eq!(usual.objective.clip_range, Clip::symmetric(0.2));
    assert_eq!(
        (usual.advantage.overlong, usual.reference_update),
        (Overlong::None, Some(ReferenceUpdate::Fixed))
    );
    let free = config_from_flags("--kl-coef 0 --overlong-buffer 2")?;
    assert_eq!((free.objective.kl, free.reference_update), (None, None));
    assert_eq!(free.advantage.overlong, Overlong::Penalized { buffer: 2 });
    assert_eq!(config_from_flags("--gamma 1.0")?.seed, 1337);
    assert!(
        config_from_flags("--gamma 0.99")
            .is_err_and(|error| error.to_string().contains("nothing is discounted"))
    );
    Ok(())
}

fn scored_completion(text: &str, length: usize, ended: bool, score: f64) -> ScoredCompletion {
    ScoredCompletion { text: text.into(), n_tokens: length, terminated: ended, reward: score }
}

#[test]
fn an_evaluation_counts_what_it_says() {
    let one = || PromptExample { example: Example::new("?", "53"), prompt: vec![1] };
    let questions = [one(), one(), one(), one()];
    let answers = [
        scored_completion("53", 3, true, 2.),
        scored_completion("53.", 4, true, 1.),
        scored_completion("53", 8, false, 0.),
        scored_completion("12", 3, true, -1.),
    ];
    let found = GrpoEvalMetrics::from_completions(Task::Arithmetic, &questions, &answers);
    assert_eq!((found.n, found.exact_match, found.relaxed_match), (4, 0.25, 0.75));
    assert_eq!((found.reward_mean, found.length_mean, found.eos_rate), (0.5, 4.5, 0.75));
    assert!(found.exact_match_low < 0.25 && found.exact_match_high > 0.25);
    let tries = PassAtKMetrics::from_counts(&[0, 1, 4], 4, 2, 0.7);
    assert_eq!((tries.temperature, tries.k), (0.7, 2));
    assert!((tries.pass_at_1 - 5. / 12.).abs() < 1e-12);
    assert!((tries.pass_at_k - (0.5 + 1.) / 3.).abs() < 1e-12, "of 6 pairs 3 hold the right one");
}

#[test]
fn the_figures_of_a_step_are_those_of_what_was_drawn() -> Result<()> {
    let response = |log_probs: &[f32], end| SampledCompletion {
        tokens: vec![1; log_probs.len()],
        log_probs: log_probs.to_vec(),
        allowed_tokens: Vec::new(),
        finish_reason: end,
    };
    let group = |a, b| RolloutGroup { prompt: vec![1], completions: vec![a, b] };
    let groups = vec![
        group(response(&[-1., -2.], FinishReason::Stop), response(&[-3.], FinishReason::Stop)),
        group(
            response(&[-1.; 3], FinishReason::Length),
            response(&[-0.5, -0.5], FinishReason::Stop),
        ),
    ];
    let rollout = config_from_flags("--group-size 2 --batch-size 2")?.rollout;
    let texts = ["a", "b", "c", "d"].map(String::from).to_vec();
    let judgement = config_from_flags("--baseline group-mean")?.advantage;
    let judged =
        ScoredRollouts { groups, completion_texts: texts, rewards: vec![1., 0., 0.5, 0.5] };
    let drawn = GrpoExperience::from_rollouts(judged, &rollout, &judgement)?;
    let update = |loss, mismatch, kl| {
        let seen = GrpoUpdateMetrics {
            clip_fraction: 0.25,
            ratio_max: 1.5,
            sampler_log_prob_diff: mismatch,
            kl_per_token: kl,
            kl_per_completion: kl.map(|kl| 2. * kl),
        };
        GrpoStepMetrics { loss, grad_norm: 3., update_metrics: seen }
    };
    let row = LogRow::from_experience(
        &drawn,
        &[update(0.1, 0.01, Some(0.5)), update(0.3, 0.02, Some(0.7))],
    );
    assert!(!row.zero_advantage && row.n_tokens == 8);
    let silent = LogRow::from_experience(&drawn, &[]);
    let found = average_metrics(&[row, silent], &PhaseTimings::default());
    for (key, wanted) in [
        ("reward_mean", 0.5),
        ("reward_std", 0.125f64.sqrt()),
        ("frac_groups_zero_advantage", 0.5),
        ("length_mean", 2.),
        ("eos_rate", 0.75),
        ("entropy", 10. / 8.),
        ("loss", 0.3),
        ("grad_norm", 3.),
        ("kl", 1.4),
        ("kl_per_token", 0.7),
        ("clip_fraction", 0.25),
        ("ratio_max", 1.5),
        ("sampler_log_prob_diff", 0.01),
    ] {
        let figure = found[key].as_f64().expect(key);
        assert!((figure - wanted).abs() < 1e-6, "{key}: {figure} {wanted}");
    }
    let without = average_metrics(&[silent], &PhaseTimings::default());
    let known = |key: &str| without.get(key).is_some();
    assert!(!known("loss") && !known("kl") && !known("sampler_log_prob_diff") && known("entropy"));
    assert_eq!(
        average_metrics(
            &[LogRow::from_experience(&drawn, &[update(0., 0., None)])],
            &PhaseTimings::default()
        )
        .get("kl"),
        None
    );
    assert_eq!(serde_json::from_value::<LogRow>(json!(row))?, row, "as a checkpoint keeps it");
    Ok(())
}

#[test]
fn the_methods_of_the_table_are_what_they_are_called() {
    let rewards = [1., 0., 0., 0., 1., 1., 1., 0.];
    let std = 4f32.sqrt() / 2. * 0.5; // of a sample of four with a single 1
    for (name, aggregation, wanted) in [
        ("best of n", Aggregation::Token, [1., 0., 1., 0.]),
        ("REINFORCE", Aggregation::Constant, [0.5, -0.5, 0.5, -0.5]),
        ("RLOO", Aggregation::Constant, [1., -1. / 3., 1. / 3., -1.]),
        ("GRPO", Aggregation::Sequence, [0.75 / std, -0.25 / std, 0.25 / std, -0.75 / std]),
        ("Dr. GRPO", Aggregation::Constant, [0.75, -0.25, 0.25, -0.75]),
    ] {
        let method = ALGORITHMS.iter().find(|method| method.name == name).expect(name);
        let AlgorithmKind::PolicyGradient(baseline, weighed) = method.kind else {
            panic!("{name} has rewards")
        };
        let found = advantages(&rewards, 4, baseline, 0.).expect("advantages");
        let found = [found[0], found[1], found[4], found[7]];
        let close = found.iter().zip(wanted).all(|(a, b)| (a - b).abs() < 1e-6);
        assert!(close && weighed == aggregation, "{name}: {found:?} {wanted:?}");
    }
    let how = |name| ALGORITHMS.iter().find(|method| method.name == name).map(|method| method.kind);
    assert_eq!(how("SFT on right answers"), Some(AlgorithmKind::Sft));
    assert_eq!(how("PPO"), Some(AlgorithmKind::Ppo));
}
