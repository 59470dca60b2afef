//! A conversation: at each turn the model reads only what is new since the last, as the cache still knows the rest.
//!
//! The whole conversation is put through the template anew at every turn, since a template may write old turns
//! differently from the latest; the cache keeps as much as stayed the same.

use anyhow::{Context, Result};
use tensor_core::Rng;

use crate::generation::{Completion, GenerateConfig};
use crate::{
    AddGenerationPrompt, ChatMessage, ChatTemplate, Checkpoint, GenerationState, GptModern,
    SkipSpecialTokens, Tokenizer,
};

/// Turns of a user and of the model.
pub struct Chat<'a> {
    model: &'a GptModern,
    tokenizer: &'a Tokenizer,
    chat_template: &'a ChatTemplate,
    config: GenerateConfig,
    messages: Vec<ChatMessage>,
    state: GenerationState,
    rng: Rng,
}

/// Assistant's turn of a chat.
#[derive(Debug, Clone)]
pub struct AssistantReply {
    /// Its words.
    pub text: String,
    /// Tokens that it read for that: those of the question, hardly more.
    pub n_prefill_tokens: usize,
    /// Its tokens.
    pub completion: Completion,
}

impl<'a> Chat<'a> {
    /// A conversation that begins with `system`, where there is one: how the model is to behave.
    ///
    /// # Errors
    /// When the model has no chat template.
    pub fn new(
        checkpoint: &'a Checkpoint,
        config: GenerateConfig,
        system: Option<&str>,
        rng: Rng,
    ) -> Result<Self> {
        let Checkpoint { model, tokenizer, chat_template: template, .. } = checkpoint;
        let template = template
            .as_ref()
            .context("the model has no chat template: it was not trained to converse")?;
        let text = GenerationState::new(config.cache_kind.new_cache(model), Vec::new());
        let messages = system.map(ChatMessage::system).into_iter().collect();
        Ok(Self { model, tokenizer, chat_template: template, config, messages, state: text, rng })
    }

    /// What was said so far.
    pub fn messages(&self) -> &[ChatMessage] {
        &self.messages
    }

    /// Says `what` to the model, and gives its reply, whose text `on_text` gets as it comes; an error of it ends the
    /// reply.
    ///
    /// # Errors
    /// When the conversation no longer fits into the model's context, or the template refuses it, and those of
    /// `on_text`. Then nothing was said.
    pub fn send_message(
        &mut self,
        what: &str,
        mut on_text: impl FnMut(&str) -> Result<()>,
    ) -> Result<AssistantReply> {
        let question = ChatMessage::user(what);
        let messages = [&self.messages[..], std::slice::from_ref(&question)].concat();
        let tokens =
            self.chat_template.encode(self.tokenizer, &messages, AddGenerationPrompt::Yes)?.tokens;
        let len = tokens.len();
        self.state.replace_keeping_prefix(tokens)?;
        let read = len - self.state.cache.position();

        let mut stream = self.tokenizer.stream(SkipSpecialTokens::Yes, &[]);
        let rngs = std::slice::from_mut(&mut self.rng);
        let mut written = self
            .state
            .generate(self.model, &self.config, rngs, |_, token| on_text(&stream.push(token)?))?;
        on_text(&stream.finish()?)?;
        let written = written.remove(0);
        let text = self.tokenizer.decode(&written.tokens, SkipSpecialTokens::Yes)?;
        self.messages.extend([question, ChatMessage::assistant(&text)]);
        Ok(AssistantReply { text, n_prefill_tokens: read, completion: written })
    }
}
