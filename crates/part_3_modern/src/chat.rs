//! A multi-turn chat that keeps its KV cache: each turn prefills only the tokens that are new.
//!
//! Every turn renders the whole conversation again, because a template may render old turns
//! differently from the latest one. The cache keeps the longest common prefix.

use anyhow::{Context, Result};
use model_io::{AddGenerationPrompt, ChatMessage, ChatTemplate, SkipSpecialTokens, Tokenizer};
use tensor_core::Rng;

use crate::completion::{Completion, FinishReason};
use crate::generate_config::GenerateConfig;
use crate::{Checkpoint, GenerationState, GptModern};

/// Chat session of a user and the model.
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
    /// Text of the reply, without special tokens.
    pub text: String,
    /// Number of prefilled tokens: those of the new message, and few more.
    pub n_prefill_tokens: usize,
    /// Generated tokens.
    pub completion: Completion,
}

impl<'a> Chat<'a> {
    /// Starts a chat, with `system` as the system message if given.
    ///
    /// # Errors
    /// When the model has no chat template.
    pub fn new(
        checkpoint: &'a Checkpoint,
        config: GenerateConfig,
        system: Option<&str>,
        rng: Rng,
    ) -> Result<Self> {
        let Checkpoint { model, tokenizer, chat_template, .. } = checkpoint;
        let chat_template = chat_template
            .as_ref()
            .context("the model has no chat template: it was not trained for chat")?;
        let state = GenerationState::new(config.cache_kind.new_cache(model), Vec::new());
        let messages = system.map(ChatMessage::system).into_iter().collect();
        Ok(Self { model, tokenizer, chat_template, config, messages, state, rng })
    }

    /// Messages so far.
    pub fn messages(&self) -> &[ChatMessage] {
        &self.messages
    }

    /// Sends `content` as a user message and returns the model's reply. `on_text` receives the text
    /// as it is generated; an error from it stops the generation.
    ///
    /// # Errors
    /// When the conversation no longer fits into the model's context, when the template refuses it,
    /// and those of `on_text`. The messages are then unchanged.
    pub fn send_message(
        &mut self,
        content: &str,
        mut on_text: impl FnMut(&str) -> Result<()>,
    ) -> Result<AssistantReply> {
        let user_message = ChatMessage::user(content);
        let messages = [&self.messages[..], std::slice::from_ref(&user_message)].concat();
        let tokens =
            self.chat_template.encode(self.tokenizer, &messages, AddGenerationPrompt::Yes)?.tokens;
        let len = tokens.len();
        self.state.replace_keeping_prefix(tokens)?;
        let n_prefill_tokens = len - self.state.cache.position();

        let mut stream = self.tokenizer.stream(SkipSpecialTokens::Yes, &[]);
        let rngs = std::slice::from_mut(&mut self.rng);
        let mut completions = self
            .state
            .generate(self.model, &self.config, rngs, |_, token| on_text(&stream.push(token)?))?;
        on_text(&stream.finish()?)?;
        let completion = completions.remove(0);
        // The stop token is no text, even if the tokenizer does not mark it as special.
        let n =
            completion.tokens.len() - usize::from(completion.finish_reason == FinishReason::Stop);
        let text = self.tokenizer.decode(&completion.tokens[..n], SkipSpecialTokens::Yes)?;
        self.messages.extend([user_message, ChatMessage::assistant(&text)]);
        Ok(AssistantReply { text, n_prefill_tokens, completion })
    }
}
