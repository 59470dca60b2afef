//! Chat tokenizer: the tokenizer, the chat template, and the stop tokens of a completion.

use anyhow::{Context, Result, ensure};
use experiment::terminal::printable;
use model_io::model_folder::SpecialTokenIds;
use model_io::{
    AddGenerationPrompt, AddSpecialTokens, ChatMessage, ChatTemplate, ParseSpecial,
    SkipSpecialTokens, Tokenizer,
};
use modern::sampler::{Sampler, SamplingStrategy};
use modern::{Checkpoint, FinishReason, GenerateConfig, GptModern, generate};
use tensor_core::Rng;

use crate::template::{ChatFormat, chat_template};

/// Advice in the error of a template that fails.
pub(crate) const OTHER_TEMPLATE: &str =
    "a conversation cannot be rendered (--template plain uses a format without markers)";

/// Encoder of conversations and decoder of completions.
#[derive(Debug)]
pub struct ChatTokenizer {
    /// Tokenizer of plain text.
    pub tokenizer: Tokenizer,
    /// Chat template.
    pub template: ChatTemplate,
    /// Stop tokens of a completion; the first is the EOS token of the training targets.
    stop_token_ids: Vec<u32>,
}

/// Completion of a model as text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CompletionText {
    /// Text without special tokens.
    pub text: String,
    /// Reason why generation stopped.
    pub finish_reason: FinishReason,
}

impl ChatTokenizer {
    /// Chat tokenizer of a checkpoint. It takes the checkpoint's chat template, and replaces the
    /// checkpoint's EOS ids by its own stop tokens. Without a `format` it uses the checkpoint's own
    /// template, else [`ChatFormat::Instruction`].
    ///
    /// # Errors
    /// When the model lacks a token that the format needs, or has no EOS token.
    pub fn from_checkpoint(
        checkpoint: &mut Checkpoint,
        format: Option<ChatFormat>,
    ) -> Result<Self> {
        let Checkpoint { tokenizer, special_ids, chat_template, .. } = checkpoint;
        Self::from_tokenizer(tokenizer.clone(), chat_template.take(), format, special_ids)
    }

    /// Chat tokenizer of a model with this tokenizer and perhaps its `own` template. The EOS ids of
    /// `special_ids` are replaced by the stop tokens.
    ///
    /// # Errors
    /// Those of [`ChatTokenizer::from_checkpoint`].
    pub fn from_tokenizer(
        tokenizer: Tokenizer,
        own: Option<ChatTemplate>,
        format: Option<ChatFormat>,
        special_ids: &mut SpecialTokenIds,
    ) -> Result<Self> {
        let default = if own.is_some() { ChatFormat::Own } else { ChatFormat::Instruction };
        let template = chat_template(format.unwrap_or(default), &tokenizer, own)?;
        let eos = tokenizer.eos().into_iter().chain(special_ids.eos.iter().copied());
        let eos: Vec<u32> = eos.collect();
        let end_of_turn = end_of_turn_token(&template, &tokenizer, &eos).context(OTHER_TEMPLATE)?;
        // Decoding then skips it, and no message can spell it, even if the model's files do not
        // mark it as special.
        let tokenizer = match end_of_turn {
            Some(id) => tokenizer.with_special_token(id)?,
            None => tokenizer,
        };
        let mut stop_token_ids: Vec<u32> = Vec::new();
        for id in end_of_turn.into_iter().chain(eos) {
            if !stop_token_ids.contains(&id) {
                stop_token_ids.push(id);
            }
        }
        // A saved model then stops at the token that it was trained to end with.
        special_ids.eos.clone_from(&stop_token_ids);
        Self::new(tokenizer, template, stop_token_ids)
    }

    /// Chat tokenizer from its parts.
    ///
    /// # Errors
    /// When there is no stop token: a model could not learn to stop.
    pub fn new(
        tokenizer: Tokenizer,
        template: ChatTemplate,
        stop_token_ids: Vec<u32>,
    ) -> Result<Self> {
        stop_token_ids
            .first()
            .context("the model has no EOS token, so it could not learn where to stop")?;
        Ok(Self { tokenizer, template, stop_token_ids })
    }

    /// EOS token that ends a training target.
    pub fn eos_token_id(&self) -> u32 {
        self.stop_token_ids[0]
    }

    /// Stop tokens of a completion; the first is the EOS token of the training targets.
    pub fn stop_token_ids(&self) -> &[u32] {
        &self.stop_token_ids
    }

    /// Ids of a conversation up to the start of the assistant's next message.
    ///
    /// # Errors
    /// When there is no message, the template rejects the conversation, or the tokenizer cannot
    /// represent a character.
    pub fn encode_prompt(&self, messages: &[ChatMessage]) -> Result<Vec<u32>> {
        ensure_prompt(messages)?;
        let encoded = self.template.encode(&self.tokenizer, messages, AddGenerationPrompt::Yes);
        Ok(encoded.context(OTHER_TEMPLATE)?.tokens)
    }

    /// Ids of a completion, without the EOS token.
    ///
    /// # Errors
    /// When the tokenizer cannot represent a character.
    pub fn encode_completion_without_eos(&self, text: &str) -> Result<Vec<u32>> {
        self.tokenizer.encode(text, AddSpecialTokens::No, ParseSpecial::No)
    }

    /// Ids of a document as in pretraining: BOS if the tokenizer adds it, the text, and the
    /// tokenizer's EOS.
    ///
    /// # Errors
    /// When the tokenizer cannot represent a character.
    pub fn encode_document(&self, text: &str) -> Result<Vec<u32>> {
        let mut ids = self.tokenizer.encode(text, AddSpecialTokens::Yes, ParseSpecial::No)?;
        let eos = self.tokenizer.eos().unwrap_or(self.eos_token_id());
        ids.extend(Some(eos).filter(|eos| ids.last() != Some(eos)));
        Ok(ids)
    }

    /// Greedy completions of `model`, built for inference, `batch_size` prompts at a time.
    ///
    /// # Errors
    /// When a prompt is longer than the model's context.
    pub fn generate_greedy(
        &self,
        model: &GptModern,
        prompts: &[Vec<u32>],
        max_new_tokens: usize,
        batch_size: usize,
    ) -> Result<Vec<CompletionText>> {
        let mut completions = Vec::with_capacity(prompts.len());
        for prompts in prompts.chunks(batch_size.max(1)) {
            let greedy = Sampler::new(SamplingStrategy::Greedy);
            completions.extend(self.generate(
                model,
                prompts,
                greedy,
                max_new_tokens,
                &mut Rng::new(0),
            )?);
        }
        Ok(completions)
    }

    /// Completions sampled by `sampler`, all prompts in one batch.
    ///
    /// # Errors
    /// When a prompt is longer than the model's context.
    pub fn generate(
        &self,
        model: &GptModern,
        prompts: &[Vec<u32>],
        sampler: Sampler,
        max_new_tokens: usize,
        rng: &mut Rng,
    ) -> Result<Vec<CompletionText>> {
        let config =
            GenerateConfig::new(model, sampler, max_new_tokens, self.stop_token_ids.clone());
        let decode = |completion: modern::Completion| {
            let text = self.tokenizer.decode(&completion.tokens, SkipSpecialTokens::Yes)?;
            Ok(CompletionText { text, finish_reason: completion.finish_reason })
        };
        let completions = generate(model, prompts, &config, rng, |_, _| Ok(()))?;
        completions.into_iter().map(decode).collect()
    }
}

/// Checks that a prompt has a message.
///
/// # Errors
/// When it has none.
pub(crate) fn ensure_prompt(messages: &[ChatMessage]) -> Result<()> {
    ensure!(
        !messages.is_empty(),
        "there is no prompt: rows of `text` are for continued pretraining with `part_6 train`"
    );
    Ok(())
}

/// Token that `template` writes after the assistant's message, if it writes one: for example
/// `<|im_end|>` of a model whose documents end with `<|endoftext|>`. Training targets end with it.
/// It is an added token, though not always marked as special. Of several in a row, such as the
/// `<|END_RESPONSE|><|END_OF_TURN_TOKEN|>` of Cohere's models, it is one of the model's `eos` ids.
fn end_of_turn_token(
    template: &ChatTemplate,
    tokenizer: &Tokenizer,
    eos: &[u32],
) -> Result<Option<u32>> {
    const CONTENT: &str = "Yes";
    let messages = [
        ChatMessage::system("Be brief."),
        ChatMessage::user("Hello?"),
        ChatMessage::assistant(CONTENT),
    ];
    // Some templates refuse a system message, and some demand one.
    let text = template
        .render(&messages[1..], AddGenerationPrompt::No)
        .or_else(|_| template.render(&messages, AddGenerationPrompt::No))?;
    let Some((_, suffix)) = text.rsplit_once(CONTENT) else { return Ok(None) };
    let ids = tokenizer.encode(suffix, AddSpecialTokens::No, ParseSpecial::Yes)?;
    // Some tokenizers have added tokens of spaces.
    let is_marker = |id: &u32| {
        let spelling = tokenizer.id_to_token(*id).unwrap_or_default();
        tokenizer.is_added(*id) && !spelling.trim().is_empty()
    };
    let markers = ids.into_iter().skip_while(|id| !is_marker(id)).take_while(is_marker);
    let markers: Vec<u32> = markers.collect();
    Ok(markers.iter().find(|id| eos.contains(id)).or(markers.first()).copied())
}

/// Text on one line, for lists of prompts and completions, without control characters.
pub fn one_line(text: &str) -> String {
    printable(text.trim()).replace('\n', " ⏎ ")
}
