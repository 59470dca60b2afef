//! 7.2 The reward model: a language model whose output layer is replaced by one row of weights, so that it gives a text a
//! number instead of the next token.
//!
//! ```text
//! causal    r = w · h[n − 1]            n tokens; the last one has seen all others
//! encoder   r = w · (1/n) Σ h[t]        no mask but that of padding; every token has seen all others
//! ```
//!
//! The causal form is what the field uses (Ouyang et al., <https://arxiv.org/abs/2203.02155>): all that a fine-tuned model
//! knows is there from the first step. It is transformers' `LlamaForSequenceClassification`. The encoder is the course's
//! first form: the same layers with the mask taken off. Where a text ends is said by its length and never read off its tokens:
//! one that is padding in one row may be real in another.

use candle_core::{DType, Result, Tensor, bail};
use modern::config::LmHead;
use modern::{AttentionContext, GptModern, ModelConfig};
use serde::Serialize;
use tensor_core::ops::AttentionMask;
use tensor_core::{Bias, Init, Linear, Parameters};

/// What tokens see of each other, and where the score is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum RewardArchitecture {
    /// Each token sees those before it; the score is read at the last
    #[default]
    Causal,
    /// Each token sees all; the score is read off their mean
    Encoder,
}

/// A model that scores texts.
#[derive(Debug, Clone)]
pub struct RewardModel {
    architecture: RewardArchitecture,
    backbone: GptModern,
    reward_head: Linear, // C -> 1
}

impl RewardModel {
    /// Parameters of the language model without its output layer, and `score`: a single row, without a bias, as only
    /// differences of scores are ever learned from. A fresh row is drawn with standard deviation 1 / √(C + 1) (Stiennon et al.,
    /// <https://arxiv.org/abs/2009.01325>), so that scores of a text begin near 0, within about 1.
    ///
    /// # Errors
    /// As [`ModelConfig::check`].
    pub fn new(
        config: &ModelConfig,
        architecture: RewardArchitecture,
        parameters: &mut Parameters,
    ) -> Result<Self> {
        let config = Self::backbone_config(config);
        let body = GptModern::new(&config, parameters.root())?;
        let score = Self::new_head(config.n_embd, parameters)?;
        Ok(Self { architecture, backbone: body, reward_head: score })
    }

    /// The head alone, for C channels.
    pub(crate) fn new_head(n_embd: usize, parameters: &mut Parameters) -> Result<Linear> {
        let init = Init::Normal { std: 1. / (n_embd as f64 + 1.).sqrt() };
        Linear::new(parameters.root().at("score"), n_embd, 1, Bias::No, init)
    }

    /// A language model of these sizes without an output layer of its own.
    pub fn backbone_config(config: &ModelConfig) -> ModelConfig {
        ModelConfig { lm_head: LmHead::Tied, ..*config }
    }

    /// Which of the two forms it has.
    pub fn architecture(&self) -> RewardArchitecture {
        self.architecture
    }

    /// The language model below the score.
    pub fn backbone(&self) -> &GptModern {
        &self.backbone
    }

    /// The score of each of B texts: (B), f32. Row b of `ids: (B, T)` is a text of `lengths[b]` tokens and after them padding,
    /// which may be any tokens. A text's score does not depend on its company, nor on how much padding there is.
    ///
    /// # Errors
    /// When a length is 0 or more than T, there is not one for each row, or T is more than the model's context.
    pub fn rewards(&self, ids: &Tensor, lengths: &[usize]) -> Result<Tensor> {
        let (b, t) = ids.dims2()?;
        let context = self.backbone.config().context_len;
        if lengths.len() != b || lengths.iter().any(|&n| n == 0 || n > t) {
            bail!("lengths {lengths:?} of {b} texts of 1 to {t} tokens");
        }
        if t > context {
            bail!("a text of {t} tokens is longer than the reward model's context of {context}");
        }
        let summary = match self.architecture {
            RewardArchitecture::Causal => self.last_hidden(ids, lengths)?,
            RewardArchitecture::Encoder => self.mean_hidden(ids, lengths)?,
        };
        // (B, C) -> (B, 1) -> (B)
        self.reward_head.forward(&summary)?.squeeze(1)?.to_dtype(DType::F32)
    }

    /// What is known at each text's last token: (B, C).
    fn last_hidden(&self, ids: &Tensor, lengths: &[usize]) -> Result<Tensor> {
        let (_b, t) = ids.dims2()?;
        let hidden = self.backbone.hidden_states(ids)?; // (B, T, C)
        let last = lengths.iter().enumerate().map(|(b, n)| (b * t + n - 1) as u32);
        hidden.flatten(0, 1)?.index_select(&Tensor::from_iter(last, ids.device())?, 0)
    }

    /// The mean of what is known at each text's tokens: (B, C).
    fn mean_hidden(&self, ids: &Tensor, lengths: &[usize]) -> Result<Tensor> {
        let (b, t) = ids.dims2()?;
        let real = lengths.iter().flat_map(|&n| (0..t).map(move |i| f32::from(u8::from(i < n))));
        let real = Tensor::from_iter(real, ids.device())?.reshape((b, t))?; // 1 where a token is, 0 for padding
        let pass =
            AttentionContext::full_sequence(AttentionMask::bidirectional().with_padding(&real)?);
        let hidden = self.backbone.hidden_states_in_context(ids, &pass, None)?; // (B, T, C)
        let shares = real.broadcast_div(&real.sum_keepdim(1)?)?.to_dtype(hidden.dtype())?; // (B, T), each row's sum 1
        shares.unsqueeze(1)?.matmul(&hidden)?.squeeze(1) // (B, 1, T) x (B, T, C) -> (B, C)
    }
}
