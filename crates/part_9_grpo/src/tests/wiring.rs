//! Wiring: flags to configuration, and experience to metrics.

use anyhow::Result;
use clap::Parser;
use datasets::Example;
use modern::FinishReason;
use ppo::experience::ScoredRollouts;
use ppo::{Clip, PromptExample, RolloutConfig, RolloutGroup, SampledCompletion, ScoredCompletion};
use serde_json::json;

use crate::command::algorithms::{ALGORITHMS, AlgorithmKind};
use crate::command::arguments::TrainArgs;
use crate::command::train::grpo_config;
use crate::evaluation::{GrpoEvalMetrics, PassAtKMetrics};
use crate::experience::AdvantageConfig;
use crate::reference::ReferenceUpdate;
use crate::step_metrics::{GrpoStepMetrics, LogRow, PhaseTimings, average_metrics};
use crate::update::GrpoUpdateMetrics;
use crate::{
    Aggregation, Baseline, GrpoConfig, GrpoExperience, KlLoss, Objective, OverlongHandling, Task,
    advantages,
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
fn every_flag_sets_its_field_of_the_configuration() -> Result<()> {
    let config = config_from_flags(
        "--batch-size 5 --group-size 3 --temperature 0.7 --max-new-tokens 9 \
         --baseline leave-one-out --advantage-epsilon 0.5 --loss-aggregation constant \
         --clip-range 0.1 --clip-range-high 0.28 --kl-estimator k2 --kl-coef 0.4 \
         --ref-model-sync-steps 6 --importance-sampling-cap 2 --mask-truncated-completions \
         --num-iterations 4 --micro-batch-size 2 --steps 11 --lr 0.5 --beta2 0.8 \
         --weight-decay 0.3 --max-grad-norm 0.2 --seed 13",
    )?;
    let RolloutConfig { group_size, max_new_tokens, ref stop_token_ids, .. } = config.rollout;
    assert_eq!((config.prompts_per_step, group_size, max_new_tokens), (5, 3, 9));
    assert_eq!(stop_token_ids, &[7]);
    assert_eq!((config.rollout.temperature(), config.seed), (0.7, 13));
    let advantage_config = AdvantageConfig {
        overlong: OverlongHandling::Masked,
        baseline: Baseline::LeaveOneOut,
        advantage_epsilon: 0.5,
        loss_aggregation: Aggregation::Constant,
    };
    assert_eq!(config.advantage, advantage_config);
    let (clip_range, kl) = (Clip { low: 0.1, high: 0.28 }, Some((KlLoss::K2, 0.4)));
    let objective = Objective { clip_range, kl, importance_sampling_cap: Some(2.) };
    assert_eq!(config.objective, objective);
    assert_eq!(config.reference_update, Some(ReferenceUpdate::SyncEvery(6)));
    let update = config.update;
    assert_eq!((update.num_iterations, update.micro_batch_size), (4, 2));
    assert_eq!((update.max_sampled_tokens, update.max_grad_norm), (None, 0.2));
    assert_eq!((update.schedule.total_steps, update.schedule.peak_lr), (11, 0.5));
    assert_eq!((update.optimizer.beta2, update.optimizer.weight_decay), (0.8, 0.3));
    Ok(())
}

#[test]
fn default_flags_give_a_fixed_reference_and_a_symmetric_clip_range() -> Result<()> {
    let defaults = config_from_flags("")?;
    assert_eq!(defaults.objective.clip_range, Clip::symmetric(0.2));
    assert_eq!(defaults.advantage.overlong, OverlongHandling::None);
    assert_eq!(defaults.reference_update, Some(ReferenceUpdate::Fixed));
    let without_kl = config_from_flags("--kl-coef 0 --overlong-buffer 2")?;
    assert_eq!((without_kl.objective.kl, without_kl.reference_update), (None, None));
    assert_eq!(without_kl.advantage.overlong, OverlongHandling::Penalized { buffer: 2 });
    assert_eq!(config_from_flags("--gamma 1.0")?.seed, 1337);
    let error = config_from_flags("--gamma 0.99").expect_err("refused").to_string();
    assert!(error.contains("nothing is discounted"), "{error}");
    Ok(())
}

fn scored_completion(
    text: &str,
    n_tokens: usize,
    terminated: bool,
    reward: f64,
) -> ScoredCompletion {
    ScoredCompletion { text: text.into(), n_tokens, terminated, reward }
}

#[test]
fn evaluation_metrics_match_a_count_by_hand() {
    let one = || PromptExample { example: Example::new("?", "53"), prompt: vec![1] };
    let prompts = [one(), one(), one(), one()];
    let completions = [
        scored_completion("53", 3, true, 2.),
        scored_completion("53.", 4, true, 1.),
        scored_completion("53", 8, false, 0.),
        scored_completion("12", 3, true, -1.),
    ];
    let metrics = GrpoEvalMetrics::from_completions(Task::Arithmetic, &prompts, &completions);
    assert_eq!((metrics.n, metrics.exact_match, metrics.relaxed_match), (4, 0.25, 0.75));
    assert_eq!((metrics.reward_mean, metrics.length_mean, metrics.eos_rate), (0.5, 4.5, 0.75));
    assert!(metrics.exact_match_low < 0.25 && metrics.exact_match_high > 0.25);
    let sampled = PassAtKMetrics::from_counts(&[0, 1, 4], 4, 2, 0.7);
    assert_eq!((sampled.temperature, sampled.k), (0.7, 2));
    assert!((sampled.pass_at_1 - 5. / 12.).abs() < 1e-12);
    let pass_at_2 = (0.5 + 1.) / 3.; // 3 of the 6 pairs contain the right one
    assert!((sampled.pass_at_k - pass_at_2).abs() < 1e-12);
}

/// Experience of two groups of two completions; in the second, rewards are equal.
fn experience() -> Result<GrpoExperience> {
    let completion = |log_probs: &[f32], finish_reason| SampledCompletion {
        tokens: vec![1; log_probs.len()],
        log_probs: log_probs.to_vec(),
        allowed_tokens: Vec::new(),
        finish_reason,
    };
    let group = |a, b| RolloutGroup { prompt: vec![1], completions: vec![a, b] };
    let groups = vec![
        group(completion(&[-1., -2.], FinishReason::Stop), completion(&[-3.], FinishReason::Stop)),
        group(
            completion(&[-1.; 3], FinishReason::Length),
            completion(&[-0.5, -0.5], FinishReason::Stop),
        ),
    ];
    let rollout = config_from_flags("--group-size 2 --batch-size 2")?.rollout;
    let completion_texts = ["a", "b", "c", "d"].map(String::from).to_vec();
    let advantage_config = config_from_flags("--baseline group-mean")?.advantage;
    let rollouts = ScoredRollouts { groups, completion_texts, rewards: vec![1., 0., 0.5, 0.5] };
    GrpoExperience::from_rollouts(rollouts, &rollout, &advantage_config)
}

fn step_metrics(loss: f64, sampler_log_prob_diff: f64, kl: Option<f64>) -> GrpoStepMetrics {
    let update_metrics = GrpoUpdateMetrics {
        clip_fraction: 0.25,
        ratio_max: 1.5,
        sampler_log_prob_diff,
        kl_per_token: kl,
        kl_per_completion: kl.map(|kl| 2. * kl),
    };
    GrpoStepMetrics { loss, grad_norm: 3., update_metrics }
}

#[test]
fn a_log_row_has_the_means_of_the_rollouts_and_of_the_last_updates() -> Result<()> {
    let updates = [step_metrics(0.1, 0.01, Some(0.5)), step_metrics(0.3, 0.02, Some(0.7))];
    let row = LogRow::from_experience(&experience()?, &updates);
    assert!(!row.zero_advantage && row.n_tokens == 8);
    let without_update = LogRow::from_experience(&experience()?, &[]);
    let metrics = average_metrics(&[row, without_update], &PhaseTimings::default());
    for (key, expected) in [
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
        let value = metrics[key].as_f64().expect(key);
        assert!((value - expected).abs() < 1e-6, "{key}: {value} {expected}");
    }
    assert_eq!(serde_json::from_value::<LogRow>(json!(row))?, row, "as in a checkpoint");
    Ok(())
}

#[test]
fn metrics_that_were_not_measured_are_missing_from_the_log_row() -> Result<()> {
    let average = |updates: &[GrpoStepMetrics]| -> Result<serde_json::Value> {
        let row = LogRow::from_experience(&experience()?, updates);
        Ok(average_metrics(&[row], &PhaseTimings::default()))
    };
    let without_update = average(&[])?;
    for key in ["loss", "kl", "sampler_log_prob_diff"] {
        assert_eq!(without_update.get(key), None, "{key}");
    }
    assert!(without_update.get("entropy").is_some());
    assert_eq!(average(&[step_metrics(0., 0., None)])?.get("kl"), None);
    Ok(())
}

#[test]
fn the_algorithms_of_the_table_have_the_advantages_of_their_names() {
    let rewards = [1., 0., 0., 0., 1., 1., 1., 0.];
    let std = 4f32.sqrt() / 2. * 0.5; // sample standard deviation of a single 1 among four
    for (name, aggregation, expected) in [
        ("best of n", Aggregation::Token, [1., 0., 1., 0.]),
        ("REINFORCE", Aggregation::Constant, [0.5, -0.5, 0.5, -0.5]),
        ("RLOO", Aggregation::Constant, [1., -1. / 3., 1. / 3., -1.]),
        ("GRPO", Aggregation::Sequence, [0.75 / std, -0.25 / std, 0.25 / std, -0.75 / std]),
        ("Dr. GRPO", Aggregation::Constant, [0.75, -0.25, 0.25, -0.75]),
    ] {
        let algorithm = ALGORITHMS.iter().find(|algorithm| algorithm.name == name).expect(name);
        let AlgorithmKind::PolicyGradient(baseline, kind_aggregation) = algorithm.kind else {
            panic!("{name} is not a policy gradient")
        };
        let all = advantages(&rewards, 4, baseline, 0.).expect("advantages");
        let ours = [all[0], all[1], all[4], all[7]];
        let close = ours.iter().zip(expected).all(|(a, b)| (a - b).abs() < 1e-6);
        assert!(close && kind_aggregation == aggregation, "{name}: {ours:?} {expected:?}");
    }
    let kind = |name| ALGORITHMS.iter().find(|one| one.name == name).map(|one| one.kind);
    assert_eq!(kind("SFT on right answers"), Some(AlgorithmKind::Sft));
    assert_eq!(kind("PPO"), Some(AlgorithmKind::Ppo));
}
