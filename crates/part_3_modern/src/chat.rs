//! A conversation: at each turn the model reads only what is new since the last, as the cache still knows the rest.
//!
//! The whole conversation is put through the template anew at every turn, since a template may write old turns
//! differently from the latest; the cache keeps as much as stayed the same.

use anyhow::{Context, Result};
use tensor_core::Rng;

use crate::generation::{Continuation, GenerateConfig};
use crate::{ChatTemplate, Checkpoint, GptModern, Markers, Message, Prompt, Text, Tokenizer};

/// Turns of a user and of the model.
pub struct Chat<'a> {
    model: &'a GptModern,
    tokenizer: &'a Tokenizer,
    template: &'a ChatTemplate,
    config: GenerateConfig,
    messages: Vec<Message>,
    text: Text,
    rng: Rng,
}

/// Assistant's turn of a chat.
#[derive(Debug, Clone)]
pub struct Reply {
    /// Its words.
    pub text: String,
    /// Tokens that it read for that: those of the question, hardly more.
    pub read: usize,
    /// Its tokens.
    pub written: Continuation,
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
        let Checkpoint { model, tokenizer, template, .. } = checkpoint;
        let template = template
            .as_ref()
            .context("the model has no chat template: it was not trained to converse")?;
        let text = Text::new(config.memory.cache(model), Vec::new());
        let messages = system.map(Message::system).into_iter().collect();
        Ok(Self { model, tokenizer, template, config, messages, text, rng })
    }

    /// What was said so far.
    pub fn messages(&self) -> &[Message] {
        &self.messages
    }

    /// Says `what` to the model, and gives its reply, whose text `on_text` gets as it comes; an error of it ends the
    /// reply.
    ///
    /// # Errors
    /// When the conversation no longer fits into the model's context, or the template refuses it, and those of
    /// `on_text`. Then nothing was said.
    pub fn say(
        &mut self,
        what: &str,
        mut on_text: impl FnMut(&str) -> Result<()>,
    ) -> Result<Reply> {
        let question = Message::user(what);
        let messages = [&self.messages[..], std::slice::from_ref(&question)].concat();
        let tokens = self.template.encode(self.tokenizer, &messages, Prompt::Generation)?.tokens;
        let len = tokens.len();
        self.text.become_text(tokens)?;
        let read = len - self.text.cache.seen();

        let mut stream = self.tokenizer.stream(Markers::Hidden, &[]);
        let rngs = std::slice::from_mut(&mut self.rng);
        let mut written = self
            .text
            .go_on(self.model, &self.config, rngs, |_, token| on_text(&stream.push(token)?))?;
        on_text(&stream.finish()?)?;
        let written = written.remove(0);
        let text = self.tokenizer.decode(&written.tokens, Markers::Hidden)?;
        self.messages.extend([question, Message::assistant(&text)]);
        Ok(Reply { text, read, written })
    }
}
