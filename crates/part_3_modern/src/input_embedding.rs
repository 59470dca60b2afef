//! Embeddings at both ends of the blocks: ids become vectors of C channels, with learned positions
//! in families without RoPE, and the LM head goes back.

use candle_core::{Device, Module, Result, Tensor, bail};
use model_io::TensorNames;
use model_io::config::{ModelConfig, PositionEncoding, TokenEmbedding};
use tensor_core::ops::{add, softcap};
use tensor_core::{Bias, Embedding, Linear, Scope};

use crate::attention_context::AttentionContext;

/// Embedding of tokens and, if they are learned, of positions.
#[derive(Debug, Clone)]
pub(crate) struct InputEmbedding {
    tokens: Embedding, // (V, W), W channels: C unless they are projected
    positions: Option<LearnedPositions>,
    /// √C, of Gemma 1 to 3; multiplied in the dtype of the table, which rounds it.
    scale: Option<f64>,
    /// W -> C and, before the LM head, C -> W.
    projections: Option<[Linear; 2]>,
}

/// Table of positions.
#[derive(Debug, Clone)]
struct LearnedPositions {
    table: Embedding, // (offset + T_max, C)
    /// Row of the first position.
    offset: usize,
    /// T_max
    context_len: usize,
}

impl InputEmbedding {
    /// Creates the parameters in the scope of the `model`.
    pub(crate) fn new(
        model: &mut Scope<'_>,
        config: &ModelConfig,
        names: &TensorNames,
    ) -> Result<Self> {
        let ModelConfig { vocab_size, n_embd, context_len, .. } = *config;
        let ([init, _], width) = (config.weight_inits(), config.embedding_width());
        let tokens = Embedding::new(model.at(names.embed_tokens), vocab_size, width, init)?;
        let positions = match config.attention.position {
            PositionEncoding::Learned { offset } => {
                let (table, n_rows) = (model.at(names.embed_positions), offset + context_len);
                let table = Embedding::new(table, n_rows, n_embd, init)?;
                Some(LearnedPositions { table, offset, context_len })
            }
            PositionEncoding::Rope(_) => None,
        };
        let (scale, projections) = match config.embedding {
            TokenEmbedding::Plain => (None, None),
            TokenEmbedding::Scaled => (Some((n_embd as f64).sqrt()), None),
            TokenEmbedding::Projected { .. } => {
                let project_in =
                    Linear::new(model.at("project_in"), width, n_embd, Bias::No, init)?;
                let project_out =
                    Linear::new(model.at("project_out"), n_embd, width, Bias::No, init)?;
                (None, Some([project_in, project_out]))
            }
        };
        Ok(Self { tokens, positions, scale, projections })
    }

    /// Vectors (B, T, C) of `ids: (B, T)`, with positions from `context`.
    pub(crate) fn forward(&self, ids: &Tensor, context: &AttentionContext) -> Result<Tensor> {
        let (b, t) = ids.dims2()?;
        let mut x = self.tokens.forward(ids)?; // (B, T, W)
        if let Some(scale) = self.scale {
            x = (x * scale)?;
        }
        if let Some([project_in, _]) = &self.projections {
            x = project_in.forward(&x)?; // (B, T, C)
        }
        let Some(LearnedPositions { table, offset, context_len }) = &self.positions else {
            return Ok(x);
        };
        let (_, end) = context.position_range(t);
        if end > *context_len {
            bail!("position {} is outside the {context_len} learned positions", end - 1);
        }
        add(&x, &table.forward(&context.position_rows(*offset, (b, t), ids.device())?)?)
    }

    /// Hidden states (B, T, W) for the LM head, of `x: (B, T, C)`.
    pub(crate) fn project_out(&self, x: Tensor) -> Result<Tensor> {
        match &self.projections {
            Some([_, project_out]) => project_out.forward(&x),
            None => Ok(x),
        }
    }

    /// Tied LM head: the table of tokens as a linear layer, W -> V.
    pub(crate) fn tied_head(&self) -> Linear {
        Linear { weight: self.tokens.weight.clone(), bias: None, adapter: None }
    }

    /// Device of the weights.
    pub(crate) fn device(&self) -> &Device {
        self.tokens.weight.device()
    }
}

/// LM head with the soft cap of its outputs.
#[derive(Debug, Clone)]
pub(crate) struct LogitHead {
    /// W -> V: a matrix of its own, or the tied table of tokens.
    pub(crate) linear: Linear,
    /// Soft cap of the logits.
    pub(crate) softcap: Option<f64>,
}

impl Module for LogitHead {
    /// Logits (.., V) of `hidden: (.., W)`.
    fn forward(&self, hidden: &Tensor) -> Result<Tensor> {
        let logits = self.linear.forward(hidden)?;
        match self.softcap {
            Some(cap) => softcap(&logits, cap),
            None => Ok(logits),
        }
    }
}
