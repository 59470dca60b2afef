//! 7.2 Reward model: a language model whose output layer is replaced by a linear reward head
//! (C -> 1), so that it outputs a number for a text instead of logits of the next token.
//!
//! ```text
//! causal    r = w · h[n − 1]        n tokens; the last one attends to all others
//! encoder   r = w · (1/n) Σ h[t]    only padding is masked; every token attends to all others
//! ```
//!
//! The causal form is the usual one (Ouyang et al., <https://arxiv.org/abs/2203.02155>): it keeps
//! everything the fine-tuned model has learned from the first step on. It is transformers'
//! `LlamaForSequenceClassification`. The encoder is the first form of the original course: the same
//! layers without the causal mask. The end of a text is given by its length and never inferred from
//! its tokens, because the padding token of one row may be a real token of another.

use candle_core::{DType, Module, Result, Tensor, bail};
use model_io::ModelConfig;
use model_io::config::LmHead;
use modern::{AttentionContext, GptModern, GradientCheckpointing};
use serde::Serialize;
use tensor_core::ops::AttentionMask;
use tensor_core::{Bias, Dropout, Init, Linear, Parameters};

/// Attention mask of the backbone, and the hidden state that the reward head reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum RewardArchitecture {
    /// Causal attention, reward from the last hidden state
    #[default]
    #[value(name = "causal")]
    #[serde(rename = "causal")]
    CausalLastToken,
    /// Bidirectional attention, reward from the mean hidden state
    #[value(name = "encoder")]
    #[serde(rename = "encoder")]
    BidirectionalMean,
}

/// Reward model: backbone and reward head.
#[derive(Debug, Clone)]
pub struct RewardModel {
    architecture: RewardArchitecture,
    backbone: GptModern,
    reward_head: Linear, // C -> 1
}

impl RewardModel {
    /// Builds the model from the parameters of a language model without its output layer, and the
    /// reward head `score`: one row, without a bias, since only differences of rewards are trained.
    ///
    /// A new head is initialized with standard deviation 1 / √(C + 1) (Stiennon et al.,
    /// <https://arxiv.org/abs/2009.01325>), so that initial rewards are within about 1 of 0.
    ///
    /// # Errors
    /// When [`ModelConfig::validate`] fails.
    pub fn new(
        config: &ModelConfig,
        architecture: RewardArchitecture,
        parameters: &mut Parameters,
    ) -> Result<Self> {
        let config = Self::backbone_config(config);
        let backbone = GptModern::new(&config, parameters.root())?;
        let reward_head = Self::new_head(config.embedding_width(), parameters)?;
        Ok(Self { architecture, backbone, reward_head })
    }

    /// The model for training, with `dropout` after the embedding and after each layer, and
    /// optionally gradient checkpointing.
    pub fn for_training(
        self,
        dropout: Dropout,
        gradient_checkpointing: GradientCheckpointing,
    ) -> Self {
        let backbone = self.backbone.for_training(dropout, gradient_checkpointing);
        Self { backbone, ..self }
    }

    /// The model for inference over the same memory, `parameters`, without an autograd graph.
    ///
    /// # Errors
    /// When memory is short.
    pub fn for_inference(&self, parameters: &Parameters) -> Result<Self> {
        Self::new(self.backbone.config(), self.architecture, &mut parameters.for_inference())
    }

    /// Builds the backbone again if it has rounded copies of the weights of `parameters`: see
    /// [`GptModern::refresh`].
    ///
    /// # Errors
    /// When memory is short.
    pub fn refresh(&mut self, parameters: &mut Parameters) -> Result<()> {
        self.backbone.refresh(parameters)
    }

    /// Reward head for C = `n_embd` channels, which computes in f32 or wider.
    pub(crate) fn new_head(n_embd: usize, parameters: &mut Parameters) -> Result<Linear> {
        let init = Init::Normal { std: 1. / (n_embd as f64 + 1.).sqrt() };
        Linear::new(parameters.root().at("score").at_least_f32(), n_embd, 1, Bias::No, init)
    }

    /// Configuration of a language model of these sizes without an output layer of its own.
    pub fn backbone_config(config: &ModelConfig) -> ModelConfig {
        ModelConfig { lm_head: LmHead::Tied, ..*config }
    }

    /// Causal or encoder form.
    pub fn architecture(&self) -> RewardArchitecture {
        self.architecture
    }

    /// Backbone: the language model below the reward head.
    pub fn backbone(&self) -> &GptModern {
        &self.backbone
    }

    /// Raw rewards (B), f32, of `ids: (B, T)`: row b is a text of `lengths[b]` tokens, then padding
    /// with any tokens. A text's reward depends neither on the other rows nor on the padding.
    ///
    /// # Errors
    /// When a length is 0 or more than T, the number of lengths is not B, or T exceeds the context.
    pub fn rewards(&self, ids: &Tensor, lengths: &[usize]) -> Result<Tensor> {
        let (b, t) = ids.dims2()?;
        let context_len = self.backbone.config().context_len;
        if lengths.len() != b || lengths.iter().any(|&n| n == 0 || n > t) {
            bail!("lengths {lengths:?}: expected {b} numbers from 1 to {t}");
        }
        if t > context_len {
            bail!("a text of {t} tokens exceeds the reward model's context of {context_len}");
        }
        let pooled = match self.architecture {
            RewardArchitecture::CausalLastToken => self.last_hidden(ids, lengths)?,
            RewardArchitecture::BidirectionalMean => self.mean_hidden(ids, lengths)?,
        };
        // (B, C) -> (B, 1) -> (B)
        let pooled = pooled.to_dtype(self.head_dtype()?)?;
        self.reward_head.forward(&pooled)?.squeeze(1)?.to_dtype(DType::F32)
    }

    /// Dtype in which the reward head computes.
    fn head_dtype(&self) -> Result<DType> {
        Ok(self.reward_head.weight.as_tensor()?.dtype())
    }

    /// Hidden state of each text's last token: (B, C).
    fn last_hidden(&self, ids: &Tensor, lengths: &[usize]) -> Result<Tensor> {
        let (_b, t) = ids.dims2()?;
        let hidden = self.backbone.hidden_states(ids)?; // (B, T, C)
        let last = lengths.iter().enumerate().map(|(b, n)| (b * t + n - 1) as u32);
        hidden.flatten(0, 1)?.index_select(&Tensor::from_iter(last, ids.device())?, 0)
    }

    /// Mean of the hidden states of each text's tokens, without padding: (B, C).
    fn mean_hidden(&self, ids: &Tensor, lengths: &[usize]) -> Result<Tensor> {
        let (b, t) = ids.dims2()?;
        // 1 for a token, 0 for padding: (B, T)
        let mask = lengths.iter().flat_map(|&n| (0..t).map(move |i| f32::from(u8::from(i < n))));
        let mask = Tensor::from_iter(mask, ids.device())?.reshape((b, t))?;
        let context =
            AttentionContext::with_mask(AttentionMask::bidirectional().with_padding(&mask)?);
        let hidden = self.backbone.hidden_states_in_context(ids, &context, None)?; // (B, T, C)
        let hidden = hidden.to_dtype(self.head_dtype()?)?; // a mean in 16 bits would lose digits
        // (B, T), each row sums to 1
        let weights = mask.broadcast_div(&mask.sum_keepdim(1)?)?.to_dtype(hidden.dtype())?;
        weights.unsqueeze(1)?.matmul(&hidden)?.squeeze(1) // (B, 1, T) x (B, T, C) -> (B, C)
    }
}
