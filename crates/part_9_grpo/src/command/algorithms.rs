//! Algorithms that `part_9 table` compares, each with the same number of sampled tokens.

use anyhow::Result;
use modern::sampler::{Sampler, SamplingStrategy};
use ppo::RolloutConfig;
use scaling::LrSchedule;
use sft::arithmetic_questions::{DemonstrationStyle, demonstrations};
use sft::{ChatTokenizer, RunOutputs, TrainConfig, TrainState, tokenize};
use tensor_core::AdamWConfig;

use super::arguments::TableArgs;
use crate::experience::AdvantageConfig;
use crate::{Aggregation, Baseline, GrpoConfig};

/// Largest number of tokens per completion.
pub(super) const MAX_NEW_TOKENS: usize = 8;
const GROUP_SIZE: usize = 16;
const PROMPTS_PER_STEP: usize = 32;

/// Algorithm with its name in the table.
pub(crate) struct Algorithm {
    pub(crate) name: &'static str,
    pub(crate) kind: AlgorithmKind,
}

/// Kind of algorithm.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum AlgorithmKind {
    /// Supervised fine-tuning on as many tokens of right answers as the others sample.
    Sft,
    /// Policy gradient with this baseline and aggregation.
    PolicyGradient(Baseline, Aggregation),
    /// PPO of part 8 with its default settings and a critic.
    Ppo,
}

pub(crate) const ALGORITHMS: [Algorithm; 7] = [
    Algorithm { name: "SFT on right answers", kind: AlgorithmKind::Sft },
    Algorithm {
        name: "best of n",
        kind: AlgorithmKind::PolicyGradient(Baseline::BestOfGroup, Aggregation::Token),
    },
    Algorithm {
        name: "REINFORCE",
        kind: AlgorithmKind::PolicyGradient(Baseline::BatchMean, Aggregation::Constant),
    },
    Algorithm {
        name: "RLOO",
        kind: AlgorithmKind::PolicyGradient(Baseline::LeaveOneOut, Aggregation::Constant),
    },
    Algorithm {
        name: "GRPO",
        kind: AlgorithmKind::PolicyGradient(Baseline::GroupStd, Aggregation::Sequence),
    },
    Algorithm {
        name: "Dr. GRPO",
        kind: AlgorithmKind::PolicyGradient(Baseline::GroupMean, Aggregation::Constant),
    },
    Algorithm { name: "PPO", kind: AlgorithmKind::Ppo },
];

/// Number of steps that sample the tokens of the table if a completion has `length` tokens.
pub(super) fn steps_for_tokens(args: &TableArgs, length: f64) -> usize {
    let tokens_per_step = length.max(1.) * (PROMPTS_PER_STEP * GROUP_SIZE) as f64;
    (args.tokens.get() as f64 / tokens_per_step).ceil() as usize
}

/// Configuration of a policy-gradient run of `steps` steps, or fewer if they sample enough tokens.
pub(crate) fn policy_gradient_config(
    (baseline, aggregation): (Baseline, Aggregation),
    stop_token_ids: Vec<u32>,
    steps: usize,
    args: &TableArgs,
    seed: u64,
) -> GrpoConfig {
    let sampler = Sampler::new(SamplingStrategy::new(1., None, None, None));
    let rollout = RolloutConfig {
        group_size: GROUP_SIZE,
        sampler,
        max_new_tokens: MAX_NEW_TOKENS,
        stop_token_ids,
    };
    let mut config = GrpoConfig::with_defaults(
        PROMPTS_PER_STEP,
        rollout,
        LrSchedule::cosine(args.lr, steps),
        seed,
    );
    config.advantage =
        AdvantageConfig { baseline, loss_aggregation: aggregation, ..config.advantage };
    config.update.max_sampled_tokens = Some(args.tokens.get());
    config
}

/// Fine-tunes `train_state` on as many tokens of right answers as the other algorithms sample;
/// returns their number.
pub(super) fn run_sft(
    args: &TableArgs,
    train_state: &mut TrainState,
    chat_tokenizer: &ChatTokenizer,
    seed: u64,
) -> Result<usize> {
    let examples = demonstrations(args.tokens.get() / 3, DemonstrationStyle::Clean, seed);
    let data = tokenize(&examples, chat_tokenizer, train_state.config.context_len)?.examples;
    let n_targets: usize = data.iter().map(sft::TokenizedExample::n_targets).sum();
    let steps = (data.len() * args.tokens.get().min(n_targets) / n_targets / 64).max(1);
    let data = &data[..data.len().min(steps * 64)];
    let optimizer = optimizer_config(AlgorithmKind::Sft);
    let config = TrainConfig { optimizer, ..TrainConfig::with_defaults(64, steps, args.lr, seed) };
    let mut log = sft::SftLog::new(steps, config.schedule.warmup_steps, 0, steps)?;
    sft::train(train_state, data, &config, None, &RunOutputs::default(), &mut log)?;
    Ok(data.iter().map(sft::TokenizedExample::n_targets).sum())
}

/// Runs part 8's PPO in the folder `out`, with the model in `out/model`; returns the number of
/// sampled tokens.
pub(super) fn run_ppo(
    args: &TableArgs,
    steps: usize,
    seed: u64,
    out: &std::path::Path,
) -> Result<usize> {
    let flags = [
        ("--model", args.model.clone()),
        ("--out", out.to_string_lossy().into_owned()),
        ("--steps", steps.to_string()),
        ("--batch-size", PROMPTS_PER_STEP.to_string()),
        ("--group-size", GROUP_SIZE.to_string()),
        ("--max-new-tokens", MAX_NEW_TOKENS.to_string()),
        ("--eval-interval", "0".into()),
        ("--seed", seed.to_string()),
        ("--device", args.compute.device.to_string()),
    ];
    let flags = flags.into_iter().flat_map(|(flag, value)| [flag.to_string(), value]);
    ppo::command::parse_and_run(["part_8".to_string(), "train".into()].into_iter().chain(flags))?;
    let rows = std::fs::read_to_string(out.join("metrics.jsonl"))?;
    let rows = rows.lines().map(serde_json::from_str::<serde_json::Value>);
    let lengths = rows.filter_map(|row| row.ok()?["length_mean"].as_f64());
    Ok((lengths.sum::<f64>() * (PROMPTS_PER_STEP * GROUP_SIZE) as f64).round() as usize)
}

/// Optimizer settings of the algorithms other than PPO.
pub(super) fn optimizer_config(kind: AlgorithmKind) -> AdamWConfig {
    let beta2 = if kind == AlgorithmKind::Sft { 0.99 } else { 0.95 };
    AdamWConfig { beta2, weight_decay: 0., ..AdamWConfig::default() }
}
