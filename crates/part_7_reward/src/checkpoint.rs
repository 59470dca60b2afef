//! A reward model with all that is needed to score texts: its own tokenizer and template, and its normalisation.
//!
//! A policy that is scored may have another tokenizer, so what it wrote is given as text, or as ids of this model's own.

use std::path::PathBuf;

use anyhow::{Result, ensure};
use candle_core::{Device, Tensor};
use modern::model_folder::{SpecialTokenIds, read_special_token_ids};
use modern::{ChatMessage, ChatTemplate, HubFiles, LoadMode, Tokenizer, fetch_from_hub, is_hub_id};
use sft::finetuned::resolve_model_path;
use sft::{ChatTokenizer, Example, TokenizedExample};
use tensor_core::Parameters;

use crate::model_folder::{self, RewardModelConfig};
use crate::{RewardModel, RewardNormalization};

/// A reward model and what belongs to it.
pub struct RewardCheckpoint {
    /// The model: for inference its twin, which builds no graph.
    pub model: RewardModel,
    /// Its weights.
    pub parameters: Parameters,
    /// Tokens and template.
    pub chat_tokenizer: ChatTokenizer,
    /// The tokens at which texts begin and end.
    pub special_ids: SpecialTokenIds,
    /// Brings scores to mean 0 and deviation 1.
    pub normalization: RewardNormalization,
}

impl RewardCheckpoint {
    /// Opens a model folder, the folder of a run that made one, or one on the Hub.
    ///
    /// # Errors
    /// When there is none, or it has no reward head.
    pub fn open(source: &str, purpose: LoadMode, device: &Device) -> Result<Self> {
        let folder = locate_reward_model(source)?;
        let (description, model, parameters) =
            model_folder::open(&folder, purpose.dtype(), device)?;
        let RewardModelConfig { backbone: config, architecture, normalization } = description;
        let tokenizer = Tokenizer::open(&folder)?;
        let own = ChatTemplate::from_folder(&folder, &tokenizer)?;
        let mut ends = read_special_token_ids(&folder)?;
        let speech = ChatTokenizer::from_tokenizer(tokenizer, own, None, &mut ends)?;
        let model = match purpose {
            LoadMode::Training(_) => model,
            LoadMode::Inference | LoadMode::DequantizedInference => {
                RewardModel::new(&config, architecture, &mut parameters.for_inference())?
            }
        };
        Ok(Self { model, parameters, chat_tokenizer: speech, special_ids: ends, normalization })
    }

    /// The ids of a conversation and a response to it, as this model reads them.
    ///
    /// # Errors
    /// When the template refuses the conversation.
    pub fn tokenize(&self, prompt: &[ChatMessage], response: &str) -> Result<Vec<u32>> {
        tokenize_conversation(
            &self.chat_tokenizer,
            prompt,
            response,
            self.model.backbone().config().context_len,
        )
    }

    /// The normalised score of each of these texts, this model's own ids, `batch_size` at a time.
    ///
    /// # Errors
    /// When a text is empty or longer than the context.
    pub fn rewards(&self, texts: &[Vec<u32>], batch_size: usize) -> Result<Vec<f64>> {
        let scores = raw_rewards(&self.model, texts, batch_size)?;
        Ok(scores.into_iter().map(|score| self.normalization.normalize(score)).collect())
    }
}

/// The ids of a conversation, the response to it, and the end, at most `context` of them: of what is longer, the beginning goes,
/// so that the response's end is always read.
///
/// # Errors
/// When the template refuses the conversation.
pub fn tokenize_conversation(
    speech: &ChatTokenizer,
    prompt: &[ChatMessage],
    response: &str,
    context: usize,
) -> Result<Vec<u32>> {
    let example = Example { prompt: prompt.to_vec(), completion: response.to_string() };
    let mut ids = TokenizedExample::from_example(&example, speech)?.ids;
    ids.drain(..ids.len().saturating_sub(context));
    Ok(ids)
}

/// What `model`, an inference twin, makes of each text, `batch_size` texts of similar length at a time.
///
/// # Errors
/// When a text is empty or longer than the context.
pub fn raw_rewards<T: AsRef<[u32]>>(
    model: &RewardModel,
    texts: &[T],
    batch_size: usize,
) -> Result<Vec<f64>> {
    let mut order: Vec<usize> = (0..texts.len()).collect();
    order.sort_by_key(|&text| texts[text].as_ref().len());
    let mut all = vec![0.; texts.len()];
    for order in order.chunks(batch_size.max(1)) {
        let rows: Vec<&[u32]> = order.iter().map(|&text| texts[text].as_ref()).collect();
        let (ids, lengths) = right_pad(&rows, model.backbone().device())?;
        let scores: Vec<f32> = model.rewards(&ids, &lengths)?.to_vec1()?;
        order.iter().zip(scores).for_each(|(&text, score)| all[text] = f64::from(score));
    }
    Ok(all)
}

/// Texts beside each other, filled up on the right: (B, T), and the length of each.
///
/// # Errors
/// When memory is short.
pub fn right_pad(rows: &[&[u32]], device: &Device) -> candle_core::Result<(Tensor, Vec<usize>)> {
    let lengths: Vec<usize> = rows.iter().map(|row| row.len()).collect();
    let t = lengths.iter().copied().max().unwrap_or(0);
    let ids = rows.iter().flat_map(|row| {
        let padding = std::iter::repeat_n(0, t - row.len()); // any token will do
        row.iter().copied().chain(padding)
    });
    Ok((Tensor::from_iter(ids, device)?.reshape((rows.len(), t))?, lengths))
}

/// Where the model is that `name` means: a file or folder, a run's `model/`, or what is fetched from the Hub.
///
/// # Errors
/// When it cannot be fetched.
pub(crate) fn locate_model(name: &str) -> Result<PathBuf> {
    match is_hub_id(name) {
        true => fetch_from_hub(name, HubFiles::Model),
        false => Ok(resolve_model_path(name).into()),
    }
}

/// The folder that `source` names.
///
/// # Errors
/// When there is none.
fn locate_reward_model(source: &str) -> Result<PathBuf> {
    let folder = locate_model(source)?;
    ensure!(
        folder.is_dir(),
        "there is no folder {source}: a reward model is a folder, a run's folder, or owner/name on the Hub"
    );
    Ok(folder)
}
