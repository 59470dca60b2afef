//! Evaluation of all models on the same test set, which no stage trains on.

use std::path::Path;

use anyhow::Result;
use datasets::Example;
use experiment::statistics::{mean, wilson_interval};
use grpo::{AdvantageConfig, GrpoExperience};
use model_io::LoadMode;
use modern::FinishReason;
use modern::sampler::{Sampler, SamplingStrategy};
use ppo::prompts::{prompt_ids, tokenize_prompts};
use ppo::{PromptExample, RolloutConfig, ScoredRollouts, rollout};
use reward::RewardCheckpoint;
use serde::{Deserialize, Serialize};
use sft::chat_tokenizer::CompletionText;
use sft::evaluation::GenerationEvalConfig;
use sft::model_flags::FinetunedFlags;
use sft::{FinetunedModel, evaluate};
use tensor_core::Rng;

use crate::course::CourseRun;
use crate::data;

/// Maximum number of tokens of a completion.
const MAX_NEW_TOKENS: usize = 8;
/// Texts per batch of an evaluation.
const BATCH_SIZE: usize = 100;
/// Test questions whose completions are displayed, some of them in phrasings whose demonstrations
/// mostly end with a full stop.
const DISPLAYED: [usize; 5] = [0, 1, 3, 8, 11];
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
    /// Mean score by the reward model.
    #[serde(default)]
    pub(crate) reward_model_score: Option<f64>,
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
    /// `value` with the interval of `n` trials.
    pub(crate) fn with_interval(value: f64, n: usize) -> Self {
        let [low, high] = wilson_interval(value, n);
        Self { value, low, high }
    }
}

/// Examples whose completions are displayed.
pub(crate) fn displayed_examples(course: &CourseRun) -> Vec<Example> {
    let all = data::test_set(course);
    DISPLAYED.into_iter().filter_map(|i| all.get(i).cloned()).collect()
}

/// Test results of the model in `folder`, under the name `stage`, with its score by `reward_model`.
pub(crate) fn evaluate_model(
    course: &CourseRun,
    stage: &str,
    folder: &Path,
    reward_model: &RewardCheckpoint,
) -> Result<ModelResults> {
    let FinetunedModel { model, chat_tokenizer, .. } = open_model(course, folder)?;
    let config = GenerationEvalConfig {
        batch_size: BATCH_SIZE,
        max_new_tokens: MAX_NEW_TOKENS,
        max_length: None,
    };
    let examples = data::test_set(course);
    let (metrics, all) = evaluate(&model, &examples, &chat_tokenizer, config)?;
    Ok(ModelResults {
        stage: stage.into(),
        exact_match: Proportion::with_interval(metrics.exact_match, metrics.n),
        relaxed_match: metrics.relaxed_match,
        reward_model_score: Some(reward_model_score(reward_model, &examples, &all)?),
        eos_rate: metrics.eos_rate,
        completions: DISPLAYED
            .into_iter()
            .filter_map(|i| all.get(i).map(|completion| completion.text.clone()))
            .collect(),
    })
}

/// Reward model in `folder`.
pub(crate) fn open_reward_model(course: &CourseRun, folder: &Path) -> Result<RewardCheckpoint> {
    RewardCheckpoint::open(&folder.display().to_string(), LoadMode::Inference, &course.device)
}

/// Mean reward of `completions` of the prompts of `examples` by `reward_model`.
fn reward_model_score(
    reward_model: &RewardCheckpoint,
    examples: &[Example],
    completions: &[CompletionText],
) -> Result<f64> {
    let tokenize = |(example, completion): (&Example, &CompletionText)| {
        let (prompt, text) = (&example.prompt, &completion.text);
        match completion.finish_reason {
            FinishReason::Stop => reward_model.tokenize(prompt, text),
            _ => reward_model.tokenize_truncated(prompt, text),
        }
    };
    let texts: Vec<Vec<u32>> =
        examples.iter().zip(completions).map(tokenize).collect::<Result<_>>()?;
    Ok(mean(&reward_model.rewards(&texts, BATCH_SIZE)?))
}

/// Accuracy of the reward model on pairs of a right answer and a near miss.
pub(crate) fn evaluate_reward_model(
    course: &CourseRun,
    reward_model: &RewardCheckpoint,
) -> Result<Proportion> {
    let pairs = data::test_pairs(course);
    let context_len = reward_model.model.backbone().config().context_len;
    let pairs = reward::tokenize_pairs(&pairs, &reward_model.chat_tokenizer, context_len)?.pairs;
    let (metrics, _) = reward::evaluate(&reward_model.model, &pairs, BATCH_SIZE)?;
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
        displayed_examples(course),
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
