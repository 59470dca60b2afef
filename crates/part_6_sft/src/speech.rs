//! How a model is spoken to: its tokens, the template, and where what it says ends.

use anyhow::{Context, Result};
use modern::model_folder::TextEnds;
use modern::sampler::{Choice, Sampler};
use modern::{
    ChatTemplate, Checkpoint, End, GenerateConfig, GptModern, Markers, Message, Prompt, Special,
    Spelled, Tokenizer, generate,
};
use tensor_core::Rng;

use crate::template::{Format, template};

/// What turns conversations into tokens and answers into text.
#[derive(Debug)]
pub struct Speech {
    /// Text to ids and back.
    pub tokenizer: Tokenizer,
    /// How a conversation is written.
    pub template: ChatTemplate,
    /// Any of these ends an answer; the first is the one to learn.
    ends: Vec<u32>,
}

/// What a model answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// In words.
    pub text: String,
    /// Why it ended.
    pub end: End,
}

impl Speech {
    /// That of a checkpoint, which gives up its chat template for it, and whose ends become those of the answers. Without a
    /// `format`: the checkpoint's own template, else [`Format::Instruction`].
    ///
    /// # Errors
    /// When the model lacks what the format needs, or has no token that ends a text.
    pub fn of(checkpoint: &mut Checkpoint, format: Option<Format>) -> Result<Self> {
        let Checkpoint { tokenizer, ends, template, .. } = checkpoint;
        Self::of_files(tokenizer.clone(), template.take(), format, ends)
    }

    /// That of a model with this tokenizer and perhaps a template of its `own`, whose `ends` become those of the answers.
    ///
    /// # Errors
    /// As [`Speech::of`].
    pub fn of_files(
        tokenizer: Tokenizer,
        own: Option<ChatTemplate>,
        format: Option<Format>,
        ends: &mut TextEnds,
    ) -> Result<Self> {
        let usual = if own.is_some() { Format::Own } else { Format::Instruction };
        let template = template(format.unwrap_or(usual), &tokenizer, own)?;
        let turn = end_of_turn(&template, &tokenizer)?;
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
        Ok(Self { tokenizer, template, ends })
    }

    /// The token that ends an answer.
    pub fn end(&self) -> u32 {
        self.ends[0]
    }

    /// Any of these ends an answer; the first is the one to learn.
    pub fn ends(&self) -> &[u32] {
        &self.ends
    }

    /// The ids of a conversation up to where the assistant is to speak.
    ///
    /// # Errors
    /// When the template refuses it, or the tokenizer cannot represent a character.
    pub fn prompt(&self, messages: &[Message]) -> Result<Vec<u32>> {
        Ok(self.template.encode(&self.tokenizer, messages, Prompt::Generation)?.tokens)
    }

    /// The ids of what the assistant says, without its end.
    ///
    /// # Errors
    /// When the tokenizer cannot represent a character.
    pub fn response(&self, text: &str) -> Result<Vec<u32>> {
        self.tokenizer.encode(text, Special::None, Spelled::Text)
    }

    /// What `model`, an inference twin, answers to these prompts, always by its likeliest tokens, `batch_size` at a time.
    ///
    /// # Errors
    /// When a prompt is longer than the context.
    pub fn answers(
        &self,
        model: &GptModern,
        prompts: &[Vec<u32>],
        max_new_tokens: usize,
        batch_size: usize,
    ) -> Result<Vec<Answer>> {
        let mut answers = Vec::with_capacity(prompts.len());
        for prompts in prompts.chunks(batch_size.max(1)) {
            let greedy = Sampler::new(Choice::Greedy);
            answers.extend(self.drawn(model, prompts, greedy, max_new_tokens, &mut Rng::new(0))?);
        }
        Ok(answers)
    }

    /// What it answers when its tokens are chosen as `sampler` says, all prompts at a time.
    ///
    /// # Errors
    /// When a prompt is longer than the context.
    pub fn drawn(
        &self,
        model: &GptModern,
        prompts: &[Vec<u32>],
        sampler: Sampler,
        max_new_tokens: usize,
        rng: &mut Rng,
    ) -> Result<Vec<Answer>> {
        let config = GenerateConfig::new(model, sampler, max_new_tokens, self.ends.clone());
        let answer = |written: modern::Continuation| {
            let text = self.tokenizer.decode(&written.tokens, Markers::Hidden)?;
            Ok(Answer { text, end: written.end })
        };
        let written = generate(model, prompts, &config, rng, |_, _| Ok(()))?;
        written.into_iter().map(answer).collect()
    }
}

/// The special token that `template` writes behind what the assistant says, if it writes one: `<|im_end|>` of a model whose
/// texts end with `<|endoftext|>`. That is the one to learn.
fn end_of_turn(template: &ChatTemplate, tokenizer: &Tokenizer) -> Result<Option<u32>> {
    const SAID: &str = "Yes";
    let turns = [Message::user("Hello?"), Message::assistant(SAID)];
    let text = template.render(&turns, Prompt::None)?;
    let Some((_, behind)) = text.rsplit_once(SAID) else { return Ok(None) };
    for id in tokenizer.encode(behind, Special::None, Spelled::Tokens)? {
        let [hidden, shown] =
            [Markers::Hidden, Markers::Shown].map(|markers| tokenizer.decode(&[id], markers));
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
