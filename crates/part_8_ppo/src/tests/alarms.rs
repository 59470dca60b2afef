//! 8.5: alarms name the cause, and steps raise them.

use anyhow::Result;
use candle_core::DType;
use experiment::reward_history::Level;
use experiment::tracker::Tracker;
use experiment::{Plateau, RunFolder, RunLog, RunLogConfig};
use serde_json::json;

use super::small_run::{actor_critic, chat_tokenizer, ending, experience_of};
use crate::alarms::{HealthInputs, PpoAlarms};
use crate::metrics::{PhaseSeconds, log_step};
use crate::reward_fn::RewardParts;
use crate::rewards::TruncationHandling;
use crate::{CompletionLog, CriticBackbone, PpoUpdateMetrics};

#[test]
fn each_alarm_names_its_cause_and_is_worse_the_further_off_it_is() {
    let healthy = HealthInputs {
        entropy: 1.,
        kl_per_token: 0.1,
        eos_rate: 0.9,
        truncation: TruncationHandling::Terminal,
        first_ratio_error: 1e-6,
        dtype: DType::F32,
        plateau: None,
    };
    let plateau = |level, n_steps| HealthInputs {
        plateau: Some(Plateau { level, reward: 0., n_steps, n_completions: 8 * n_steps }),
        ..healthy
    };
    let bootstrapped =
        |eos_rate| HealthInputs { eos_rate, truncation: TruncationHandling::Bootstrap, ..healthy };
    let mut alarms = PpoAlarms::default();
    assert!(alarms.check(&healthy).is_empty());
    assert!(alarms.check(&HealthInputs { eos_rate: 0.4, ..healthy }).is_empty());
    assert!(alarms.check(&plateau(Level::Highest, 9)).is_empty());
    let rounded = HealthInputs { first_ratio_error: 0.1, dtype: DType::BF16, ..healthy };
    assert!(alarms.check(&rounded).is_empty());
    assert_eq!(alarms.check(&HealthInputs { first_ratio_error: 0.3, ..rounded }).len(), 1);
    for (inputs, worse, expected) in [
        (
            HealthInputs { entropy: 0.01, ..healthy },
            HealthInputs { entropy: 0.001, ..healthy },
            "entropy has collapsed",
        ),
        (
            HealthInputs { kl_per_token: 3., ..healthy },
            HealthInputs { kl_per_token: 4., ..healthy },
            "--kl-coef",
        ),
        (
            HealthInputs { eos_rate: 0.01, ..healthy },
            HealthInputs { eos_rate: 0., ..healthy },
            "raise --missing-eos-penalty",
        ),
        (bootstrapped(0.4), bootstrapped(0.3), "use --truncation terminal"),
        (
            HealthInputs { first_ratio_error: 0.1, ..healthy },
            HealthInputs { first_ratio_error: 0.2, ..healthy },
            "before the first update",
        ),
        (plateau(Level::Lower, 1), plateau(Level::Lower, 2), "got the reward 0"),
    ] {
        let [alarm, worse] = [inputs, worse].map(|inputs| {
            let [alarm] = alarms.check(&inputs).try_into().expect("one alarm");
            alarm
        });
        assert!(alarm.message.contains(expected) && alarm.cause == worse.cause, "{alarm:?}");
        assert!(alarm.severity < worse.severity, "{alarm:?} {worse:?}");
    }
}

#[test]
fn a_step_raises_the_alarms_of_its_metrics() -> Result<()> {
    let chat_tokenizer = chat_tokenizer()?;
    let config = ending(1);
    let mut actor_critic = actor_critic(&chat_tokenizer, CriticBackbone::Shared, &config)?;
    let experience = experience_of(&mut actor_critic, &chat_tokenizer, &config)?;
    let folder = tempfile::tempdir()?;
    let out = folder.path().join("run");
    let tracker = Tracker::Disabled;
    let mut log = RunLog::new(RunLogConfig::rewards(9, 1, 1), 0)?.with_run_folder(
        RunFolder::create(&out, &json!({}))?,
        tracker,
        &[],
    );
    let healthy = PpoUpdateMetrics { entropy: 1., ..PpoUpdateMetrics::default() };
    let mut tell = |updated: &_, step: usize| {
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
        log_step(&mut actor_critic, &experience, &none, updated, truncation, 0.1, seconds, &mut log)
    };
    tell(&healthy, 1)?;
    tell(&PpoUpdateMetrics { first_ratio_error: 0.1, ..healthy }, 2)?;
    tell(&PpoUpdateMetrics { first_ratio_error: 0.2, entropy: 0.001, ..healthy }, 3)?;
    tell(&PpoUpdateMetrics { first_ratio_error: 0.6, ..healthy }, 4)?;
    let rows = std::fs::read_to_string(out.join("metrics.jsonl"))?;
    let rung: Vec<&str> = rows.lines().filter(|row| row.contains("alarm")).collect();
    for (row, expected) in rung.iter().zip(["step 2: a ratio", "step 3: the entropy", "step 4: a"])
    {
        assert!(row.contains(expected), "{expected}: {rows}");
    }
    assert_eq!(rung.len(), 3, "{rows}");
    Ok(())
}
