//! The exam: the same questions for every model, which none of them has seen.

use std::path::Path;

use anyhow::Result;
use grpo::experience::{Experience, Judgement, gather};
use modern::LoadMode;
use modern::sampler::{Sampler, SamplingStrategy};
use ppo::prompts::questions;
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

use crate::course::Course;

/// Longest answer, in tokens.
const ANSWER: usize = 8;
/// How many answers of a group are shown.
const GROUP: usize = 8;

/// A share with the interval that holds the true one in 95 of 100 cases.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub(crate) struct Share {
    pub(crate) share: f64,
    pub(crate) low: f64,
    pub(crate) high: f64,
}

/// How a model did.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Marks {
    /// The stage that made it.
    pub(crate) stage: String,
    /// Answered exactly: the bare integer, then the end.
    pub(crate) exact: Share,
    /// Right but for the form.
    pub(crate) forgiven: f64,
    /// Ended by the model itself.
    pub(crate) ended: f64,
    /// Its answers to the questions that are shown.
    pub(crate) answers: Vec<String>,
}

/// An answer that was drawn, and how it compared with the others to the same question.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Try {
    pub(crate) text: String,
    pub(crate) advantage: f32,
}

impl Share {
    fn of(share: f64, n: usize) -> Self {
        let [low, high] = wilson_interval(share, n);
        Self { share, low, high }
    }
}

/// All questions.
pub(crate) fn asked() -> Vec<Example> {
    test_examples(ProblemSet::Sums)
}

/// The questions whose answers are shown: a sum, and two asked in ways whose demonstrators had the habit.
pub(crate) fn shown() -> Vec<Example> {
    let all = asked();
    [0, 1, 8].into_iter().filter_map(|i| all.get(i).cloned()).collect()
}

/// How the model of `stage`, in `folder`, does.
pub(crate) fn take(course: &Course, stage: &str, folder: &Path) -> Result<Marks> {
    let FinetunedModel { model, chat_tokenizer: speech, .. } = open(course, folder)?;
    let extent = GenerationEvalConfig { batch_size: 100, max_new_tokens: ANSWER };
    let (found, _) = evaluate(&model, &asked(), &speech, extent)?;
    let (_, answers) = evaluate(&model, &shown(), &speech, extent)?;
    Ok(Marks {
        stage: stage.into(),
        exact: Share::of(found.exact_match, found.n),
        forgiven: found.form_forgiven,
        ended: found.eos_rate,
        answers: answers.into_iter().map(|answer| answer.text).collect(),
    })
}

/// How often the reward model in `folder` tells right answers from near misses.
pub(crate) fn judge(course: &Course, folder: &Path) -> Result<Share> {
    let folder = folder.display().to_string();
    let model = RewardCheckpoint::open(&folder, LoadMode::Inference, &course.device)?;
    let pairs =
        PreferenceSource::Arithmetic.load_all(&reward::PreferenceColumns::default())?.usable;
    let context = model.model.backbone().config().context_len;
    let pairs = reward::tokenize_pairs(&pairs, &model.chat_tokenizer, context)?.pairs;
    let (found, _) = reward::evaluate(&model.model, &pairs, 100)?;
    Ok(Share { share: found.accuracy, low: found.accuracy_low, high: found.accuracy_high })
}

/// What the model in `folder` tries where it is asked each question that is shown several times; and how its tries compare.
pub(crate) fn tries(course: &Course, folder: &Path) -> Result<Vec<Vec<Try>>> {
    let FinetunedModel { model, chat_tokenizer: speech, .. } = open(course, folder)?;
    let (questions, _): (Vec<PromptExample>, _) =
        questions(shown(), &speech, model.config().context_len, ANSWER)?;
    let config = RolloutConfig {
        group_size: GROUP,
        sampler: Sampler::new(SamplingStrategy::new(1., None, None, None)),
        max_new_tokens: ANSWER,
        stop_token_ids: speech.stop_token_ids().to_vec(),
    };
    let mut scorer = ppo::scorer::exact();
    let by = (&speech, &mut *scorer);
    let judged = gather(&model, by, &questions, &config, &mut Rng::new(course.settings.seed))?;
    let Experience { texts, advantages, .. } =
        Experience::of(judged, &config, &Judgement::usual())?;
    let tries = texts.into_iter().zip(advantages);
    let tries: Vec<Try> = tries.map(|(text, advantage)| Try { text, advantage }).collect();
    Ok(tries.chunks(GROUP).map(<[Try]>::to_vec).collect())
}

/// The model that a stage left in `folder`.
pub(crate) fn open(course: &Course, folder: &Path) -> Result<FinetunedModel> {
    let model = folder.display().to_string();
    FinetunedFlags { model, adapter: None, template: None }.open(&course.device)
}
