//! Reward model checkpoint: the model with its own tokenizer, chat template and normalization.
//!
//! The policy may have a different tokenizer, so its completions are passed as text, or as token
//! ids of the reward model's own tokenizer.

use std::path::{Path, PathBuf};

use anyhow::{Result, ensure};
use candle_core::{Device, Tensor};
use model_io::model_folder::read_special_token_ids;
use model_io::{
    AddGenerationPrompt, ChatMessage, ChatTemplate, ChatVariables, LoadMode, SkipSpecialTokens,
    SpecialTokenIds, Tokenizer, fetch_from_hub, is_hub_id,
};
use modern::flags::variables_of_run;
use sft::finetuned::resolve_model_path;
use sft::{ChatTokenizer, TokenizedExample};
use tensor_core::Parameters;

use crate::model_folder::{self, RewardModelConfig};
use crate::{RewardModel, RewardNormalization};

/// Reward model, its weights, tokenizer and normalization.
pub struct RewardCheckpoint {
    /// Reward model. Opened for inference, it builds no autograd graph.
    pub model: RewardModel,
    /// Weights of the model.
    pub parameters: Parameters,
    /// Tokenizer and chat template.
    pub chat_tokenizer: ChatTokenizer,
    /// BOS and EOS token ids.
    pub special_ids: SpecialTokenIds,
    /// Normalization of raw rewards to mean 0 and standard deviation 1.
    pub normalization: RewardNormalization,
}

impl RewardCheckpoint {
    /// Opens a reward model: a model folder, the folder of the run that trained it, or a Hub id.
    /// Its chat template has the variables of that run.
    ///
    /// # Errors
    /// When the folder does not exist, or its model has no reward head.
    pub fn open(source: &str, mode: LoadMode, device: &Device) -> Result<Self> {
        Self::open_with_variables(source, mode, &variables_of_run(Path::new(source))?, device)
    }

    /// Like [`open`](Self::open), for a run with these chat `variables`, which stand in for those
    /// that the run of the reward model lacks. With a date, a prompt is the same on another day.
    ///
    /// # Errors
    /// Those of [`open`](Self::open).
    pub fn open_for_run(
        source: &str,
        mode: LoadMode,
        variables: &ChatVariables,
        device: &Device,
    ) -> Result<Self> {
        let variables = variables_of_run(Path::new(source))?.with_defaults(variables);
        Self::open_with_variables(source, mode, &variables, device)
    }

    /// Like [`open`](Self::open), with these variables of the chat template alone.
    ///
    /// # Errors
    /// Those of [`open`](Self::open).
    pub fn open_with_variables(
        source: &str,
        mode: LoadMode,
        variables: &ChatVariables,
        device: &Device,
    ) -> Result<Self> {
        let folder = locate_reward_model(source)?;
        let (description, model, parameters) = model_folder::open(&folder, mode.dtype(), device)?;
        let RewardModelConfig { backbone: config, architecture, normalization } = description;
        let tokenizer = Tokenizer::open(&folder)?;
        let template = ChatTemplate::from_folder(&folder, &tokenizer)?;
        let template = template.map(|template| template.with_variables(variables));
        let mut special_ids = read_special_token_ids(&folder)?;
        let chat_tokenizer =
            ChatTokenizer::from_tokenizer(tokenizer, template, None, &mut special_ids)?;
        let model = match mode {
            LoadMode::Training(_) => model,
            LoadMode::Inference | LoadMode::DequantizedInference => {
                RewardModel::new(&config, architecture, &mut parameters.for_inference())?
            }
        };
        Ok(Self { model, parameters, chat_tokenizer, special_ids, normalization })
    }

    /// Token ids of a conversation and a completion of it, in this model's tokenizer, as by
    /// [`tokenize_conversation`]; they may be more than the context.
    ///
    /// # Errors
    /// When the chat template rejects the conversation.
    pub fn tokenize(&self, prompt: &[ChatMessage], completion: &str) -> Result<Vec<u32>> {
        tokenize_conversation(&self.chat_tokenizer, prompt, &ChatMessage::assistant(completion))
    }

    /// Token ids of a conversation and a truncated completion of it: without an EOS token, and
    /// without markers of the template, which the policy did not generate.
    ///
    /// # Errors
    /// When the chat template rejects the conversation.
    pub fn tokenize_truncated(&self, prompt: &[ChatMessage], completion: &str) -> Result<Vec<u32>> {
        let prompt = self.chat_tokenizer.encode_prompt(prompt)?;
        Ok([prompt, self.chat_tokenizer.encode_completion_without_eos(completion)?].concat())
    }

    /// Truncates `texts` on the left to the context, so that the end of the completion is always
    /// read. Returns the number of those that were too long.
    pub fn truncate_to_context(&self, texts: &mut [Vec<u32>]) -> usize {
        let context_len = self.model.backbone().config().context_len;
        texts.iter_mut().map(|ids| usize::from(truncate_left(ids, context_len))).sum()
    }

    /// Normalized reward of each text, given as this model's token ids, `batch_size` at a time.
    ///
    /// # Errors
    /// When a text is empty or longer than the context.
    pub fn rewards(&self, texts: &[Vec<u32>], batch_size: usize) -> Result<Vec<f64>> {
        let rewards = raw_rewards(&self.model, texts, batch_size)?;
        Ok(rewards.into_iter().map(|reward| self.normalization.normalize(reward)).collect())
    }
}

/// Token ids of a conversation and the assistant's `completion` of it as the chat template renders
/// them, and at least up to EOS.
///
/// A reward is read at the last token, for transformers that of `apply_chat_template`. Qwen's
/// template, for example, writes a line break after `<|im_end|>`, and Qwen3's an empty
/// `<think>` block before the completion. Where the template renders nothing more than prompt,
/// completion and EOS, the ids are those of a policy that was given the prompt.
///
/// # Errors
/// When the chat template rejects the conversation.
pub fn tokenize_conversation(
    chat_tokenizer: &ChatTokenizer,
    prompt: &[ChatMessage],
    completion: &ChatMessage,
) -> Result<Vec<u32>> {
    let joined = TokenizedExample::of_reply(prompt, completion, chat_tokenizer)?.ids;
    let messages = [prompt, std::slice::from_ref(completion)].concat();
    let ChatTokenizer { template, tokenizer, .. } = chat_tokenizer;
    let rendered = template.encode(tokenizer, &messages, AddGenerationPrompt::No)?.tokens;
    let text = |ids: &[u32]| tokenizer.decode(ids, SkipSpecialTokens::No);
    let has_more = !text(&joined)?.starts_with(&text(&rendered)?);
    Ok(if has_more { rendered } else { joined })
}

/// Shortens `ids` to the last `n`; whether there were more.
pub(crate) fn truncate_left(ids: &mut Vec<u32>, n: usize) -> bool {
    let is_too_long = ids.len() > n;
    ids.drain(..ids.len().saturating_sub(n));
    is_too_long
}

/// Raw (unnormalized) rewards of `texts`, in batches of `batch_size` texts of similar length.
/// `model` should be opened for inference.
///
/// # Errors
/// When a text is empty or longer than the context.
pub fn raw_rewards<T: AsRef<[u32]>>(
    model: &RewardModel,
    texts: &[T],
    batch_size: usize,
) -> Result<Vec<f64>> {
    let mut by_length: Vec<usize> = (0..texts.len()).collect();
    by_length.sort_by_key(|&text| texts[text].as_ref().len());
    let mut all_rewards = vec![0.; texts.len()];
    for indices in by_length.chunks(batch_size.max(1)) {
        let rows: Vec<&[u32]> = indices.iter().map(|&text| texts[text].as_ref()).collect();
        let (ids, lengths) = right_pad(&rows, model.backbone().device())?;
        let rewards: Vec<f32> = model.rewards(&ids, &lengths)?.to_vec1()?;
        indices.iter().zip(rewards).for_each(|(&i, reward)| all_rewards[i] = f64::from(reward));
    }
    Ok(all_rewards)
}

/// Right-padded batch of token sequences: ids (B, T), and the length of each row.
///
/// # Errors
/// When memory is short.
pub fn right_pad(rows: &[&[u32]], device: &Device) -> candle_core::Result<(Tensor, Vec<usize>)> {
    let lengths: Vec<usize> = rows.iter().map(|row| row.len()).collect();
    let t = lengths.iter().copied().max().unwrap_or(0);
    let ids = rows.iter().flat_map(|row| {
        // The model ignores everything after a row's length, so any token can pad.
        let padding = std::iter::repeat_n(0, t - row.len());
        row.iter().copied().chain(padding)
    });
    Ok((Tensor::from_iter(ids, device)?.reshape((rows.len(), t))?, lengths))
}

/// Path of the model `name`: a file or folder, a run's `model/`, or a download from the Hub.
///
/// # Errors
/// When the download fails, and those of [`resolve_model_path`].
pub(crate) fn locate_model(name: &str) -> Result<PathBuf> {
    match is_hub_id(name) {
        true => fetch_from_hub(name),
        false => Ok(resolve_model_path(name)?.into()),
    }
}

/// Folder of the reward model `source`.
///
/// # Errors
/// When it is not an existing folder.
fn locate_reward_model(source: &str) -> Result<PathBuf> {
    let folder = locate_model(source)?;
    ensure!(
        folder.is_dir(),
        "there is no folder {source}: a reward model is a folder, a run's folder, or owner/name on \
         the Hub"
    );
    Ok(folder)
}
