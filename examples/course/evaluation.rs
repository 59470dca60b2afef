//! Evaluation of all models on the same test set, which no stage trains on.

use std::path::Path;

use anyhow::Result;
use datasets::Example;
use datasets::arithmetic::ProblemSet;
use datasets::arithmetic_questions::test_examples;
use experiment::statistics::wilson_interval;
use grpo::{AdvantageConfig, GrpoExperience};
use model_io::LoadMode;
use modern::sampler::{Sampler, SamplingStrategy};
use ppo::prompts::{prompt_ids, tokenize_prompts};
use ppo::{PromptExample, RolloutConfig, ScoredRollouts, rollout};
use reward::{PreferenceSource, RewardCheckpoint};
use serde::{Deserialize, Serialize};
use sft::evaluation::GenerationEvalConfig;
use sft::flags::FinetunedFlags;
use sft::{FinetunedModel, evaluate};
use tensor_core::Rng;

use crate::course::CourseRun;

/// Maximum number of tokens of a completion.
const MAX_NEW_TOKENS: usize = 8;
/// Number of sampled completions per displayed prompt.
const GROUP_SIZE: usize = 8;

/// A proportion with its 95 % confidence interval.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub(crate) struct Proportion {
    #[serde(alias = "share")]
    pub(crate) value: f64,
    pub(crate) low: f64,
    pub(crate) high: f64,
}

/// Test results of one model.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct ModelResults {
    /// Name of the model, as in [`MODELS`](crate::scoreboard::MODELS).
    pub(crate) stage: String,
    /// Exact match: the bare integer, then the stop token.
    #[serde(alias = "exact")]
    pub(crate) exact_match: Proportion,
    /// Relaxed match: the right integer, whatever the format.
    #[serde(alias = "forgiven")]
    pub(crate) relaxed_match: f64,
    /// Fraction of completions that end with a stop token.
    #[serde(alias = "ended")]
    pub(crate) eos_rate: f64,
    /// Greedy completions of the displayed prompts.
    #[serde(alias = "answers")]
    pub(crate) completions: Vec<String>,
}

/// A sampled completion and its advantage within its group.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct GroupSample {
    pub(crate) text: String,
    pub(crate) advantage: f32,
}

impl Proportion {
    fn with_interval(value: f64, n: usize) -> Self {
        let [low, high] = wilson_interval(value, n);
        Self { value, low, high }
    }
}

/// The test set: sums and differences.
pub(crate) fn test_set() -> Vec<Example> {
    test_examples(ProblemSet::Sums)
}

/// Examples whose completions are displayed: a sum, and two problems in phrasings whose
/// demonstrations mostly end with a full stop.
pub(crate) fn displayed_examples() -> Vec<Example> {
    let all = test_set();
    [0, 1, 8].into_iter().filter_map(|i| all.get(i).cloned()).collect()
}

/// Test results of the model in `folder`, under the name `stage`.
pub(crate) fn evaluate_model(
    course: &CourseRun,
    stage: &str,
    folder: &Path,
) -> Result<ModelResults> {
    let FinetunedModel { model, chat_tokenizer, .. } = open_model(course, folder)?;
    let config =
        GenerationEvalConfig { batch_size: 100, max_new_tokens: MAX_NEW_TOKENS, max_length: None };
    let (metrics, _) = evaluate(&model, &test_set(), &chat_tokenizer, config)?;
    let (_, completions) = evaluate(&model, &displayed_examples(), &chat_tokenizer, config)?;
    Ok(ModelResults {
        stage: stage.into(),
        exact_match: Proportion::with_interval(metrics.exact_match, metrics.n),
        relaxed_match: metrics.relaxed_match,
        eos_rate: metrics.eos_rate,
        completions: completions.into_iter().map(|completion| completion.text).collect(),
    })
}

/// Accuracy of the reward model in `folder` on pairs of a right answer and a near miss.
pub(crate) fn evaluate_reward_model(course: &CourseRun, folder: &Path) -> Result<Proportion> {
    let folder = folder.display().to_string();
    let model = RewardCheckpoint::open(&folder, LoadMode::Inference, &course.device)?;
    let pairs = PreferenceSource::Arithmetic
        .load_eval_preferences(&datasets::PreferenceColumns::default())?
        .usable;
    let context_len = model.model.backbone().config().context_len;
    let pairs = reward::tokenize_pairs(&pairs, &model.chat_tokenizer, context_len)?.pairs;
    let (metrics, _) = reward::evaluate(&model.model, &pairs, 100)?;
    Ok(Proportion {
        value: metrics.accuracy,
        low: metrics.accuracy_low,
        high: metrics.accuracy_high,
    })
}

/// Samples a group of completions of each displayed prompt from the model in `folder`, with GRPO's
/// advantages for the exact-match reward.
pub(crate) fn sample_groups(course: &CourseRun, folder: &Path) -> Result<Vec<Vec<GroupSample>>> {
    let FinetunedModel { model, chat_tokenizer, .. } = open_model(course, folder)?;
    let (prompts, _): (Vec<PromptExample>, _) = tokenize_prompts(
        displayed_examples(),
        &chat_tokenizer,
        model.config().context_len,
        MAX_NEW_TOKENS,
    )?;
    let config = RolloutConfig::new(
        GROUP_SIZE,
        Sampler::new(SamplingStrategy::new(1., None, None, None)),
        MAX_NEW_TOKENS,
        chat_tokenizer.stop_token_ids().to_vec(),
    );
    let mut reward_fn = ppo::reward_fn::exact_match_reward_fn();
    let mut rng = Rng::new(course.settings.seed);
    let ids = prompt_ids(&prompts);
    let groups = rollout(&model, &ids, &config, &mut rng)?;
    let rollouts =
        ScoredRollouts::new(groups, &prompts, &chat_tokenizer, &mut *reward_fn, &mut rng)?;
    let advantage = AdvantageConfig::with_defaults();
    let GrpoExperience { completion_texts, advantages, .. } =
        GrpoExperience::from_rollouts(rollouts, &config, &advantage, 0.)?;
    let samples = completion_texts.into_iter().zip(advantages);
    let samples: Vec<GroupSample> =
        samples.map(|(text, advantage)| GroupSample { text, advantage }).collect();
    Ok(samples.chunks(GROUP_SIZE).map(<[GroupSample]>::to_vec).collect())
}

/// Opens the model of a stage.
pub(crate) fn open_model(course: &CourseRun, folder: &Path) -> Result<FinetunedModel> {
    let model = folder.display().to_string();
    let flags =
        FinetunedFlags { model, adapter: None, template: None, chat_template: Default::default() };
    flags.open(&course.device)
}
