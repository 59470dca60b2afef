//! Wiring: flags to configuration, and experience to metrics.

use anyhow::{Context, Result};
use clap::Parser;
use datasets::Example;
use modern::FinishReason;
use ppo::{
    Clip, PromptExample, RolloutConfig, RolloutGroup, SampledCompletion, ScoredCompletion,
    ScoredRollouts,
};
use serde_json::json;
use tensor_core::AdamWConfig;
use tensor_core::testing::assert_close;

use crate::command::algorithms::{ALGORITHMS, Algorithm};
use crate::command::arguments::TrainArgs;
use crate::command::perfectible::is_perfectible;
use crate::command::ppo_run::n_sampled_tokens;
use crate::evaluation::{GrpoEvalMetrics, PassAtKMetrics};
use crate::metrics::{GrpoStepMetrics, mean_metrics};
use crate::update_metrics::GrpoUpdateMetrics;
use crate::{
    AdvantageConfig, Aggregation, Baseline, GrpoConfig, GrpoExperience, KlLoss, LossLevel, Method,
    Objective, OverlongHandling, ReferenceUpdate, Task, advantages,
};

#[derive(Parser)]
struct Cli {
    #[command(flatten)]
    train: TrainArgs,
}

fn args_from_flags(flags: &str) -> Result<TrainArgs> {
    let words = ["part_9", "--model", "m"].into_iter().chain(flags.split_whitespace());
    Ok(Cli::try_parse_from(words)?.train)
}

fn config_from_flags(flags: &str) -> Result<GrpoConfig> {
    let args = args_from_flags(flags)?;
    args.grpo_config(vec![7], &args.run_defaults(5e5, 200))
}

#[test]
fn every_flag_sets_its_field_of_the_configuration() -> Result<()> {
    let config = config_from_flags(
        "--batch-size 5 --group-size 3 --temperature 0.7 --max-new-tokens 9 \
         --baseline leave-one-out --advantage-epsilon 0.5 --loss-aggregation constant \
         --clip-range 0.1 --clip-range-high 0.28 --kl-estimator k2 --kl-coef 0.4 \
         --sync-ref 6 --importance-sampling-cap 2 --mask-truncated-completions \
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
    let objective = Objective {
        level: LossLevel::Token,
        clip_range: Some(Clip { low: 0.1, high: 0.28 }),
        kl: Some((KlLoss::K2, 0.4)),
        importance_sampling_cap: Some(2.),
    };
    assert_eq!(config.objective, objective);
    assert_eq!(config.reference_update, Some(ReferenceUpdate::SyncEvery(6)));
    let update = config.update;
    assert_eq!((update.num_iterations, update.micro_batch_size), (4, 2));
    assert_eq!((update.max_sampled_tokens, update.max_grad_norm), (None, 0.2));
    assert_eq!((update.schedule.total_steps, update.schedule.peak_lr), (11, 0.5));
    let AdamWConfig { beta2, weight_decay, .. } = update.optimizer.adamw();
    assert_eq!((beta2, weight_decay), (0.8, 0.3));
    Ok(())
}

#[test]
fn default_flags_give_a_fixed_reference_and_a_symmetric_clip_range() -> Result<()> {
    let defaults = config_from_flags("")?;
    assert_eq!(defaults.objective.clip_range, Some(Clip::symmetric(0.2)));
    assert_eq!(defaults.objective.kl, Some((KlLoss::K3Weighted, 0.03)));
    assert_eq!(defaults.advantage, AdvantageConfig::with_defaults());
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

#[test]
fn a_method_sets_the_defaults_and_explicit_flags_win() -> Result<()> {
    for method in Method::ALL {
        let flags = format!("--method {}", method.name().to_lowercase());
        let config = config_from_flags(&flags)?;
        assert_eq!(config.advantage.baseline, method.baseline());
        assert_eq!(config.advantage.loss_aggregation, method.loss_aggregation());
        assert_eq!(config.objective.clip_range, method.clip_range().map(Clip::symmetric));
        assert_eq!(config.objective.kl.map_or(0., |(_, kl_coef)| kl_coef), method.kl_coef());
        assert_eq!(config.reference_update.is_some(), method.kl_coef() > 0.);
        let explicit = "--baseline best-of-group --loss-aggregation sequence --clip-range 0.4 \
                        --kl-coef 0.5";
        let config = config_from_flags(&format!("{explicit} {flags}"))?;
        assert_eq!(config.advantage.baseline, Baseline::BestOfGroup);
        assert_eq!(config.advantage.loss_aggregation, Aggregation::Sequence);
        assert_eq!(config.objective.clip_range, Some(Clip::symmetric(0.4)));
        assert_eq!(config.objective.kl, Some((KlLoss::K3Weighted, 0.5)));
        assert_eq!(config.objective.level, LossLevel::Token);
        let config = config_from_flags(&format!("--objective sequence {flags}"))?;
        assert_eq!(config.objective.level, LossLevel::Sequence);
        assert_eq!(config.objective.clip_range, None);
        assert_eq!(config.advantage.loss_aggregation, Aggregation::Completion);
    }
    Ok(())
}

#[test]
fn the_sequence_objective_refuses_flags_that_it_has_no_use_for() -> Result<()> {
    for (flags, reason) in [
        ("--clip-range 0.4", "nothing is clipped"),
        ("--kl-estimator k2", "squared log-ratio"),
        ("--num-iterations 2", "one optimizer step per rollout"),
        ("--importance-sampling-cap 2", "one optimizer step per rollout"),
    ] {
        args_from_flags(flags)?.check()?;
        let args = args_from_flags(&format!("--objective sequence {flags}"))?;
        let error = args.check().expect_err(flags).to_string();
        assert!(error.contains(reason), "{flags}: {error}");
    }
    args_from_flags("--objective sequence")?.check()
}

fn scored_completion(
    text: &str,
    n_tokens: usize,
    finish_reason: FinishReason,
    reward: f64,
) -> ScoredCompletion {
    ScoredCompletion { text: text.into(), n_tokens, finish_reason, reward }
}

#[test]
fn evaluation_metrics_match_a_count_by_hand() {
    let prompt = || PromptExample { example: Example::new("?", "53"), prompt: vec![1] };
    let prompts = [prompt(), prompt(), prompt(), prompt()];
    let completions = [
        scored_completion("53", 3, FinishReason::Stop, 2.),
        scored_completion("53.", 4, FinishReason::Stop, 1.),
        scored_completion("53", 8, FinishReason::Length, 0.),
        scored_completion("12", 3, FinishReason::Stop, -1.),
    ];
    let metrics = GrpoEvalMetrics::from_completions(Task::Arithmetic, &prompts, &completions);
    let right = metrics.matches().expect("arithmetic has answers");
    assert_eq!((metrics.n, right.exact_match, right.relaxed_match), (4, 0.25, 0.75));
    assert_eq!((metrics.reward_mean, metrics.length_mean, metrics.eos_rate), (0.5, 4.5, 0.75));
    assert!(right.exact_match_low < 0.25 && right.exact_match_high > 0.25);
    let sampled = PassAtKMetrics::from_counts(&[0, 1, 4], 4, 2, 0.7);
    assert_eq!((sampled.temperature, sampled.k), (0.7, 2));
    assert_close(sampled.pass_at_1, 5. / 12., 1e-12);
    let pass_at_2 = (0.5 + 1.) / 3.; // 3 of the 6 pairs contain the right one
    assert_close(sampled.pass_at_k, pass_at_2, 1e-12);
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
    GrpoExperience::from_rollouts(rollouts, &rollout, &advantage_config, 0.)
}

fn update_metrics(loss: f64, sampler_log_prob_diff: f64, kl: Option<f64>) -> GrpoUpdateMetrics {
    GrpoUpdateMetrics {
        loss,
        grad_norm: 3.,
        clip_fraction: 0.25,
        ratio_max: 1.5,
        sampler_log_prob_diff,
        kl_per_token: kl,
        kl_per_completion: kl.map(|kl| 2. * kl),
    }
}

#[test]
fn a_log_row_has_the_means_of_the_rollouts_and_of_the_last_updates() -> Result<()> {
    let updates = [update_metrics(0.1, 0.01, Some(0.5)), update_metrics(0.3, 0.02, Some(0.7))];
    let row = GrpoStepMetrics::new(&experience()?, &updates);
    assert!(!row.is_zero_advantage() && experience()?.n_tokens() == 8);
    let without_update = GrpoStepMetrics::new(&experience()?, &[]);
    let metrics = mean_metrics(&[row, without_update])?;
    for (key, expected) in [
        ("reward_mean", 0.5),
        ("reward_std", 0.125f64.sqrt()),
        ("frac_groups_zero_advantage", 0.5),
        ("length_mean", 2.),
        ("eos_rate", 0.75),
        ("entropy", 10. / 8.),
        ("loss", 0.3),
        ("grad_norm", 3.),
        ("kl", 0.7), // per token, as in TRL
        ("kl_per_completion", 1.4),
        ("clip_fraction", 0.25),
        ("ratio_max", 1.5),
        ("sampler_log_prob_diff", 0.01),
    ] {
        let value = metrics[key];
        assert_close(value, expected, 1e-6);
    }
    assert!(!metrics.contains_key("kl_per_token"), "{metrics:?}");
    for row in [row, without_update] {
        assert_eq!(
            serde_json::from_value::<GrpoStepMetrics>(json!(row))?,
            row,
            "as in a checkpoint"
        );
    }
    Ok(())
}

#[test]
fn under_trls_names_the_reference_is_mixed_with_trls_defaults() -> Result<()> {
    let update = |flags: &str| -> Result<Option<ReferenceUpdate>> {
        Ok(config_from_flags(&format!("--kl-coef 0.1 {flags}"))?.reference_update)
    };
    let mixed = |interval, alpha| Some(ReferenceUpdate::MixEvery { interval, alpha });
    assert_eq!(update("--sync-ref-model")?, mixed(512, 0.6));
    let flags = "--sync-ref-model --ref-model-sync-steps 6 --ref-model-mixup-alpha 0.25";
    assert_eq!(update(flags)?, mixed(6, 0.25));
    assert_eq!(update("--sync-ref 6")?, Some(ReferenceUpdate::SyncEvery(6)));
    assert_eq!(update("")?, Some(ReferenceUpdate::Fixed));
    let args = args_from_flags("--kl-coef 0.1 --ref-model-sync-steps 6")?;
    let error = args.check().expect_err("TRL does nothing with it");
    assert!(error.to_string().contains("do nothing without --sync-ref-model"), "{error}");
    Ok(())
}

#[test]
fn a_checkpoint_whose_kl_was_per_completion_is_read_as_such() -> Result<()> {
    let row = GrpoStepMetrics::new(&experience()?, &[update_metrics(0.1, 0.01, Some(0.5))]);
    let mut saved = json!(row);
    let fields = saved.as_object_mut().context("an object")?;
    fields.remove("kl_per_completion");
    fields.insert("kl".into(), json!(1.));
    fields.insert("kl_per_token".into(), json!(0.5));
    assert_eq!(serde_json::from_value::<GrpoStepMetrics>(saved)?, row);
    Ok(())
}

#[test]
fn metrics_that_were_not_measured_are_missing_from_the_log_row() -> Result<()> {
    let average = |updates: &[GrpoUpdateMetrics]| {
        anyhow::Ok(mean_metrics(&[GrpoStepMetrics::new(&experience()?, updates)])?)
    };
    let without_update = average(&[])?;
    for key in ["loss", "kl", "sampler_log_prob_diff"] {
        assert_eq!(without_update.get(key), None, "{key}");
    }
    assert!(without_update.contains_key("entropy"));
    assert_eq!(average(&[update_metrics(0., 0., None)])?.get("kl"), None);
    Ok(())
}

#[test]
fn the_algorithms_of_the_table_have_the_advantages_of_their_names() {
    let rewards = [1., 0., 0., 0., 1., 1., 1., 0.];
    let std = 4f32.sqrt() / 2. * 0.5; // sample standard deviation of a single 1 among four
    for (name, aggregation, expected) in [
        ("best-of-group", Aggregation::Token, [1., 0., 1., 0.]),
        ("batch-mean", Aggregation::Constant, [0.5, -0.5, 0.5, -0.5]),
        ("leave-one-out", Aggregation::Constant, [1., -1. / 3., 1. / 3., -1.]),
        ("group-std", Aggregation::Sequence, [0.75 / std, -0.25 / std, 0.25 / std, -0.75 / std]),
        ("group-mean", Aggregation::Constant, [0.75, -0.25, 0.25, -0.75]),
    ] {
        let algorithm =
            ALGORITHMS.into_iter().find(|algorithm| algorithm.name() == name).expect(name);
        let Algorithm::PolicyGradient(baseline, row_aggregation) = algorithm else {
            panic!("{name} is not a policy gradient")
        };
        let all = advantages(&rewards, 4, baseline, 0., 0.).expect("advantages");
        let ours = [all[0], all[1], all[4], all[7]];
        let close = ours.iter().zip(expected).all(|(a, b)| (a - b).abs() < 1e-6);
        assert!(close && row_aggregation == aggregation, "{name}: {ours:?} {expected:?}");
    }
    let methods = Method::ALL.map(|method| method.name().to_string());
    assert!(
        ALGORITHMS.iter().all(|algorithm| !methods.contains(&algorithm.name())),
        "a row with the settings of the table does not have the name of a method"
    );
}

#[test]
fn tokens_of_steps_without_a_row_are_counted() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let rows = r#"{"step":0,"val_reward":0.5}
{"step":3,"length_mean":2.0,"tokens":120}
{"step":5,"alarm":"step 5 is skipped"}
{"step":6,"length_mean":3.0,"tokens":290}
{"step":6,"val_reward":0.7}"#;
    std::fs::write(folder.path().join("metrics.jsonl"), rows)?;
    assert_eq!(n_sampled_tokens(folder.path())?, 290);
    Ok(())
}

#[test]
fn the_library_and_the_flags_have_the_same_defaults() -> Result<()> {
    let from_flags = config_from_flags("")?;
    let schedule = from_flags.update.schedule;
    let library = GrpoConfig::with_defaults(64, from_flags.rollout.clone(), schedule, 1);
    assert_eq!(library.objective, from_flags.objective);
    assert_eq!(library.advantage, from_flags.advantage);
    assert_eq!(library.reference_update, from_flags.reference_update);
    assert_eq!(library.update.optimizer, from_flags.update.optimizer);
    let rloo = library.with_method(Method::Rloo);
    assert_eq!(rloo.objective, config_from_flags("--method rloo")?.objective);
    assert_eq!(rloo.reference_update, None);
    let grpo = rloo.with_method(Method::Grpo);
    assert_eq!((grpo.objective, grpo.reference_update.is_some()), (from_flags.objective, true));
    Ok(())
}

#[test]
fn a_problem_is_perfectible_from_20_to_80_percent_of_its_samples() {
    let kept: Vec<usize> = (0..=40).filter(|&n_right| is_perfectible(n_right, 40)).collect();
    assert_eq!(kept, (8..=32).collect::<Vec<_>>());
    assert!(!(0..=1).any(|n_right| is_perfectible(n_right, 1)), "one sample shows nothing");
}
