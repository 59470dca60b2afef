//! The exam: the same questions for every model, which none of them has seen.

use std::path::Path;

use anyhow::Result;
use grpo::experience::{AdvantageConfig, GrpoExperience, collect_rollouts};
use modern::LoadMode;
use modern::sampler::{Sampler, SamplingStrategy};
use ppo::prompts::tokenize_prompts;
use ppo::{PromptExample, RolloutConfig};
use reward::metrics::wilson_interval;
use reward::{PreferenceSource, RewardCheckpoint};
use serde::{Deserialize, Serialize};
use sft::arithmetic::ProblemSet;
use sft::evaluation::GenerationEvalConfig;
use sft::flags::FinetunedFlags;
use sft::source::test_examples;
use sft::{Example, FinetunedModel, evaluate};
use tensor_core::Rng;

use crate::course::CourseRun;

/// Longest answer, in tokens.
const MAX_NEW_TOKENS: usize = 8;
/// How many answers of a group are shown.
const GROUP_SIZE: usize = 8;

/// A share with the interval that holds the true one in 95 of 100 cases.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub(crate) struct Proportion {
    pub(crate) value: f64,
    pub(crate) low: f64,
    pub(crate) high: f64,
}

/// How a model did.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct ModelResults {
    /// The stage that made it.
    pub(crate) stage: String,
    /// Answered exactly: the bare integer, then the end.
    pub(crate) exact_match: Proportion,
    /// Right but for the form.
    pub(crate) relaxed_match: f64,
    /// Ended by the model itself.
    pub(crate) eos_rate: f64,
    /// Its answers to the questions that are shown.
    pub(crate) completions: Vec<String>,
}

/// An answer that was drawn, and how it compared with the others to the same question.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct GroupSample {
    pub(crate) text: String,
    pub(crate) advantage: f32,
}

impl Proportion {
    fn with_interval(share: f64, n: usize) -> Self {
        let [low, high] = wilson_interval(share, n);
        Self { value: share, low, high }
    }
}

/// All questions.
pub(crate) fn test_set() -> Vec<Example> {
    test_examples(ProblemSet::Sums)
}

/// The questions whose answers are shown: a sum, and two asked in ways whose demonstrators had the habit.
pub(crate) fn displayed_examples() -> Vec<Example> {
    let all = test_set();
    [0, 1, 8].into_iter().filter_map(|i| all.get(i).cloned()).collect()
}

/// How the model of `stage`, in `folder`, does.
pub(crate) fn evaluate_model(
    course: &CourseRun,
    stage: &str,
    folder: &Path,
) -> Result<ModelResults> {
    let FinetunedModel { model, chat_tokenizer: speech, .. } = open_model(course, folder)?;
    let extent = GenerationEvalConfig { batch_size: 100, max_new_tokens: MAX_NEW_TOKENS };
    let (found, _) = evaluate(&model, &test_set(), &speech, extent)?;
    let (_, answers) = evaluate(&model, &displayed_examples(), &speech, extent)?;
    Ok(ModelResults {
        stage: stage.into(),
        exact_match: Proportion::with_interval(found.exact_match, found.n),
        relaxed_match: found.relaxed_match,
        eos_rate: found.eos_rate,
        completions: answers.into_iter().map(|answer| answer.text).collect(),
    })
}

/// How often the reward model in `folder` tells right answers from near misses.
pub(crate) fn evaluate_reward_model(course: &CourseRun, folder: &Path) -> Result<Proportion> {
    let folder = folder.display().to_string();
    let model = RewardCheckpoint::open(&folder, LoadMode::Inference, &course.device)?;
    let pairs =
        PreferenceSource::Arithmetic.load_all(&reward::PreferenceColumns::default())?.usable;
    let context = model.model.backbone().config().context_len;
    let pairs = reward::tokenize_pairs(&pairs, &model.chat_tokenizer, context)?.pairs;
    let (found, _) = reward::evaluate(&model.model, &pairs, 100)?;
    Ok(Proportion { value: found.accuracy, low: found.accuracy_low, high: found.accuracy_high })
}

/// What the model in `folder` tries where it is asked each question that is shown several times; and how its tries compare.
pub(crate) fn sample_groups(course: &CourseRun, folder: &Path) -> Result<Vec<Vec<GroupSample>>> {
    let FinetunedModel { model, chat_tokenizer: speech, .. } = open_model(course, folder)?;
    let (questions, _): (Vec<PromptExample>, _) = tokenize_prompts(
        displayed_examples(),
        &speech,
        model.config().context_len,
        MAX_NEW_TOKENS,
    )?;
    let config = RolloutConfig {
        group_size: GROUP_SIZE,
        sampler: Sampler::new(SamplingStrategy::new(1., None, None, None)),
        max_new_tokens: MAX_NEW_TOKENS,
        stop_token_ids: speech.stop_token_ids().to_vec(),
    };
    let mut scorer = ppo::reward_fn::exact_match_reward_fn();
    let by = (&speech, &mut *scorer);
    let judged =
        collect_rollouts(&model, by, &questions, &config, &mut Rng::new(course.settings.seed))?;
    let GrpoExperience { completion_texts: texts, advantages, .. } =
        GrpoExperience::from_rollouts(judged, &config, &AdvantageConfig::with_defaults())?;
    let tries = texts.into_iter().zip(advantages);
    let tries: Vec<GroupSample> =
        tries.map(|(text, advantage)| GroupSample { text, advantage }).collect();
    Ok(tries.chunks(GROUP_SIZE).map(<[GroupSample]>::to_vec).collect())
}

/// The model that a stage left in `folder`.
pub(crate) fn open_model(course: &CourseRun, folder: &Path) -> Result<FinetunedModel> {
    let model = folder.display().to_string();
    FinetunedFlags { model, adapter: None, template: None }.open(&course.device)
}
