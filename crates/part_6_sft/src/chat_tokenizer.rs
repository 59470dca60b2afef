//! How a model is spoken to: its tokens, the template, and where what it says ends.

use anyhow::{Context, Result};
use modern::model_folder::SpecialTokenIds;
use modern::sampler::{Sampler, SamplingStrategy};
use modern::{
    AddGenerationPrompt, AddSpecialTokens, ChatMessage, ChatTemplate, Checkpoint, FinishReason,
    GenerateConfig, GptModern, ParseSpecial, SkipSpecialTokens, Tokenizer, generate,
};
use tensor_core::Rng;

use crate::template::{ChatFormat, chat_template};

/// What turns conversations into tokens and answers into text.
#[derive(Debug)]
pub struct ChatTokenizer {
    /// Text to ids and back.
    pub tokenizer: Tokenizer,
    /// How a conversation is written.
    pub template: ChatTemplate,
    /// Any of these ends an answer; the first is the one to learn.
    stop_token_ids: Vec<u32>,
}

/// What a model answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CompletionText {
    /// In words.
    pub text: String,
    /// Why it ended.
    pub finish_reason: FinishReason,
}

impl ChatTokenizer {
    /// That of a checkpoint, which gives up its chat template for it, and whose ends become those of the answers. Without a
    /// `format`: the checkpoint's own template, else [`ChatFormat::Instruction`].
    ///
    /// # Errors
    /// When the model lacks what the format needs, or has no token that ends a text.
    pub fn from_checkpoint(
        checkpoint: &mut Checkpoint,
        format: Option<ChatFormat>,
    ) -> Result<Self> {
        let Checkpoint { tokenizer, special_ids: ends, chat_template: template, .. } = checkpoint;
        Self::from_tokenizer(tokenizer.clone(), template.take(), format, ends)
    }

    /// That of a model with this tokenizer and perhaps a template of its `own`, whose `ends` become those of the answers.
    ///
    /// # Errors
    /// As [`ChatTokenizer::from_checkpoint`].
    pub fn from_tokenizer(
        tokenizer: Tokenizer,
        own: Option<ChatTemplate>,
        format: Option<ChatFormat>,
        ends: &mut SpecialTokenIds,
    ) -> Result<Self> {
        let usual = if own.is_some() { ChatFormat::Own } else { ChatFormat::Instruction };
        let template = chat_template(format.unwrap_or(usual), &tokenizer, own)?;
        let turn = end_of_turn_token(&template, &tokenizer)?;
        let mut all: Vec<u32> = Vec::new();
        for end in turn.into_iter().chain(tokenizer.eos()).chain(ends.eos.iter().copied()) {
            if !all.contains(&end) {
                all.push(end);
            }
        }
        ends.eos.clone_from(&all); // so that what is saved ends where it learned to
        Self::new(tokenizer, template, all)
    }

    /// Of these pieces.
    ///
    /// # Errors
    /// When no token ends a text: a model could not learn to stop.
    pub fn new(tokenizer: Tokenizer, template: ChatTemplate, ends: Vec<u32>) -> Result<Self> {
        ends.first().context(
            "the model has no token that ends a text, so it could not learn where to stop",
        )?;
        Ok(Self { tokenizer, template, stop_token_ids: ends })
    }

    /// The token that ends an answer.
    pub fn eos_token_id(&self) -> u32 {
        self.stop_token_ids[0]
    }

    /// Any of these ends an answer; the first is the one to learn.
    pub fn stop_token_ids(&self) -> &[u32] {
        &self.stop_token_ids
    }

    /// The ids of a conversation up to where the assistant is to speak.
    ///
    /// # Errors
    /// When the template refuses it, or the tokenizer cannot represent a character.
    pub fn encode_prompt(&self, messages: &[ChatMessage]) -> Result<Vec<u32>> {
        Ok(self.template.encode(&self.tokenizer, messages, AddGenerationPrompt::Yes)?.tokens)
    }

    /// The ids of what the assistant says, without its end.
    ///
    /// # Errors
    /// When the tokenizer cannot represent a character.
    pub fn encode_completion(&self, text: &str) -> Result<Vec<u32>> {
        self.tokenizer.encode(text, AddSpecialTokens::No, ParseSpecial::No)
    }

    /// What `model`, an inference twin, answers to these prompts, always by its likeliest tokens, `batch_size` at a time.
    ///
    /// # Errors
    /// When a prompt is longer than the context.
    pub fn generate_greedy(
        &self,
        model: &GptModern,
        prompts: &[Vec<u32>],
        max_new_tokens: usize,
        batch_size: usize,
    ) -> Result<Vec<CompletionText>> {
        let mut answers = Vec::with_capacity(prompts.len());
        for prompts in prompts.chunks(batch_size.max(1)) {
            let greedy = Sampler::new(SamplingStrategy::Greedy);
            answers.extend(self.generate(
                model,
                prompts,
                greedy,
                max_new_tokens,
                &mut Rng::new(0),
            )?);
        }
        Ok(answers)
    }

    /// What it answers when its tokens are chosen as `sampler` says, all prompts at a time.
    ///
    /// # Errors
    /// When a prompt is longer than the context.
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
        let answer = |written: modern::Completion| {
            let text = self.tokenizer.decode(&written.tokens, SkipSpecialTokens::Yes)?;
            Ok(CompletionText { text, finish_reason: written.finish_reason })
        };
        let written = generate(model, prompts, &config, rng, |_, _| Ok(()))?;
        written.into_iter().map(answer).collect()
    }
}

/// The special token that `template` writes behind what the assistant says, if it writes one: `<|im_end|>` of a model whose
/// texts end with `<|endoftext|>`. That is the one to learn.
fn end_of_turn_token(template: &ChatTemplate, tokenizer: &Tokenizer) -> Result<Option<u32>> {
    const SAID: &str = "Yes";
    let turns = [ChatMessage::user("Hello?"), ChatMessage::assistant(SAID)];
    let text = template.render(&turns, AddGenerationPrompt::No)?;
    let Some((_, behind)) = text.rsplit_once(SAID) else { return Ok(None) };
    for id in tokenizer.encode(behind, AddSpecialTokens::No, ParseSpecial::Yes)? {
        let [hidden, shown] = [SkipSpecialTokens::Yes, SkipSpecialTokens::No]
            .map(|markers| tokenizer.decode(&[id], markers));
        if hidden?.is_empty() && !shown?.is_empty() {
            return Ok(Some(id));
        }
    }
    Ok(None)
}

/// A text as it is shown among others: on one line.
pub fn one_line(text: &str) -> String {
    text.trim().replace('\n', " ⏎ ")
}
