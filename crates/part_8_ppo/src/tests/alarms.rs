//! 8.5: alarms name the cause, and steps raise them.

use anyhow::Result;
use experiment::tracker::{Tracker, TrackerKind};
use experiment::{RunFolder, RunLog, RunLogConfig};
use serde_json::json;

use super::small_run::{actor_critic, chat_tokenizer, ending, experience_of};
use crate::alarms::{HealthInputs, PpoAlarms};
use crate::metrics::{PhaseSeconds, log_step};
use crate::reward_fn::RewardParts;
use crate::rewards::TruncationHandling;
use crate::{CompletionLog, CriticBackbone, PpoUpdateMetrics};

#[test]
fn each_alarm_names_its_cause_once() -> Result<()> {
    let healthy = HealthInputs {
        entropy: 1.,
        kl_per_token: 0.1,
        eos_rate: 0.9,
        truncation: TruncationHandling::Terminal,
        first_ratio_error: 1e-6,
        all_rewards_equal: false,
    };
    let mut alarms = PpoAlarms::default();
    assert!(alarms.check(1, &healthy).is_empty());
    assert!(alarms.check(1, &HealthInputs { eos_rate: 0.4, ..healthy }).is_empty());
    for (inputs, expected) in [
        (HealthInputs { entropy: 0.001, ..healthy }, "entropy has collapsed"),
        (HealthInputs { kl_per_token: 3., ..healthy }, "--kl-coef"),
        (HealthInputs { eos_rate: 0.01, ..healthy }, "raise --missing-eos-penalty"),
        (
            HealthInputs { eos_rate: 0.4, truncation: TruncationHandling::Bootstrap, ..healthy },
            "use --truncation terminal",
        ),
        (HealthInputs { first_ratio_error: 0.1, ..healthy }, "before the first update"),
        (HealthInputs { all_rewards_equal: true, ..healthy }, "get the same reward"),
    ] {
        let said = alarms.check(2, &inputs);
        assert!(said.len() == 1 && said[0].contains(expected), "{said:?}");
        let mut saved: PpoAlarms = serde_json::from_value(serde_json::to_value(&alarms)?)?;
        for alarms in [&mut saved, &mut alarms] {
            assert!(alarms.check(3, &inputs).is_empty(), "an alarm is raised once");
        }
        assert!(alarms.check(4, &healthy).is_empty());
    }
    Ok(())
}

#[test]
fn a_step_raises_the_alarms_of_its_metrics() -> Result<()> {
    let chat_tokenizer = chat_tokenizer()?;
    let config = ending(1);
    let mut actor_critic = actor_critic(&chat_tokenizer, CriticBackbone::Shared, &config)?;
    let mut experience = experience_of(&mut actor_critic, &chat_tokenizer, &config)?;
    let folder = tempfile::tempdir()?;
    let out = folder.path().join("run");
    let tracker = Tracker::create(TrackerKind::None, &out, &json!({}), 0)?;
    let mut log = RunLog::new(RunLogConfig::rewards(9, 1), 0)?.with_run_folder(
        RunFolder::create(&out, &json!({}))?,
        tracker,
        &[],
    );
    let healthy = PpoUpdateMetrics { entropy: 1., ..PpoUpdateMetrics::default() };
    let mut tell = |experience: &_, updated: &_, step: usize| {
        actor_critic.policy.progress.step = step - 1;
        let seconds = PhaseSeconds { rollout: 1., experience: 1., update: 1. };
        let truncation = TruncationHandling::Terminal;
        let none = CompletionLog {
            prompts: &[],
            texts: &[],
            rewards: &[],
            parts: &RewardParts::default(),
            advantages: &[],
        };
        log_step(&mut actor_critic, experience, &none, updated, truncation, 0.1, seconds, &mut log)
    };
    tell(&experience, &healthy, 1)?;
    tell(&experience, &PpoUpdateMetrics { first_ratio_error: 0.1, ..healthy }, 2)?;
    experience.rewards.fill(0.1); // the mean of 256 of them is not exactly 0.1
    tell(&experience, &PpoUpdateMetrics { entropy: 0.001, ..healthy }, 3)?;
    let rows = std::fs::read_to_string(out.join("metrics.jsonl"))?;
    let rung: Vec<&str> = rows.lines().filter(|row| row.contains("alarm")).collect();
    for (row, expected) in
        rung.iter().zip(["step 2: a ratio", "step 3: the entropy", "get the same reward"])
    {
        assert!(row.contains(expected), "{expected}: {rows}");
    }
    assert_eq!(rung.len(), 3, "{rows}");
    Ok(())
}
