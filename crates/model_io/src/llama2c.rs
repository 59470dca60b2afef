//! Reader of <https://github.com/karpathy/llama2.c> checkpoints in the version 0 `.bin` format:
//! seven sizes, then f32 tensors.
//!
//! Tensors are not named: all layers of one kind are stored together, and the sizes determine where
//! each begins. They get Hugging Face names here, and the rows of q and k its order
//! ([`crate::row_order`]).

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufReader, Read};
use std::path::Path;

use anyhow::{Context, Result, bail, ensure};
use candle_core::{Device, Tensor};

use crate::config::{
    AttentionBias, AttentionConfig, LmHead, Mlp, ModelConfig, NormKind, PositionEncoding, QkNorm,
};
use crate::row_order::{interleaved_to_half_order, permute_rows};

/// Header size: seven 4-byte integers.
const HEADER_BYTES: u64 = 28;

/// Model sizes stored in the header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Llama2cHeader {
    /// Width of the residual stream, C.
    pub n_embd: usize,
    /// Hidden width of the MLP, F.
    pub hidden_dim: usize,
    /// Number of blocks.
    pub n_layer: usize,
    /// Number of query heads.
    pub n_head: usize,
    /// Number of key and value heads.
    pub n_kv_head: usize,
    /// Vocabulary size, V.
    pub vocab_size: usize,
    /// Context length in training.
    pub context_len: usize,
    /// Tied or untied output matrix.
    pub classifier: Classifier,
}

/// Source of the output matrix (`wcls` in llama2.c).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Classifier {
    /// Embedding table.
    Tied,
    /// Separate matrix, the last tensor of the file.
    Untied,
}

impl Llama2cHeader {
    /// RoPE base θ. The format does not store it; llama2.c uses this constant.
    pub const ROPE_THETA: f64 = 10_000.;
    /// RMSNorm ε, also a constant of llama2.c.
    pub const RMS_NORM_EPS: f64 = 1e-5;

    /// Head size, D.
    pub fn head_dim(&self) -> usize {
        self.n_embd / self.n_head
    }

    /// Architecture of the model: Llama's.
    pub fn config(&self) -> ModelConfig {
        let position = PositionEncoding::Rope { base: Self::ROPE_THETA, scaling: None };
        ModelConfig {
            vocab_size: self.vocab_size,
            n_layer: self.n_layer,
            n_embd: self.n_embd,
            context_len: self.context_len,
            norm: NormKind::Rms { eps: Self::RMS_NORM_EPS },
            attention: AttentionConfig {
                n_head: self.n_head,
                n_kv_head: self.n_kv_head,
                head_dim: self.head_dim(),
                bias: AttentionBias::None,
                qk_norm: QkNorm::None,
                position,
                window: None,
            },
            mlp: Mlp::SwiGlu { width: self.hidden_dim },
            lm_head: match self.classifier {
                Classifier::Tied => LmHead::Tied,
                Classifier::Untied => LmHead::Untied,
            },
            init_std: ModelConfig::GPT2_INIT_STD,
        }
    }

    /// Reads the sizes and checks that they match a file of `length` bytes.
    fn read(mut reader: impl Read, length: u64) -> Result<Self> {
        ensure!(
            length >= HEADER_BYTES,
            "it has {length} bytes, fewer than the {HEADER_BYTES} of the header"
        );
        let mut bytes = [0; HEADER_BYTES as usize];
        reader.read_exact(&mut bytes)?;
        let (numbers, _) = bytes.as_chunks::<4>();
        ensure!(&numbers[0] != b"24ka", "it uses a later llama2.c format; export it as version 0");
        let numbers = numbers.iter().map(|&number| i32::from_le_bytes(number));
        let [n_embd, hidden_dim, n_layer, n_head, n_kv_head, vocab, seq_len] =
            <[i32; 7]>::try_from(numbers.collect::<Vec<_>>()).expect("28 bytes are 7 numbers");
        let size = |name: &str, number: i32| match usize::try_from(number) {
            Ok(size) if size > 0 => Ok(size),
            _ => bail!("its {name} is {number}: not a llama2.c checkpoint"),
        };
        let header = Self {
            n_embd: size("dim", n_embd)?,
            hidden_dim: size("hidden_dim", hidden_dim)?,
            n_layer: size("n_layers", n_layer)?,
            n_head: size("n_heads", n_head)?,
            n_kv_head: size("n_kv_heads", n_kv_head)?,
            vocab_size: size("vocab_size", vocab.saturating_abs())?,
            context_len: size("seq_len", seq_len)?,
            // The sign of vocab_size is a flag: negative means untied.
            classifier: if vocab > 0 { Classifier::Tied } else { Classifier::Untied },
        };
        header.check(length)?;
        Ok(header)
    }

    fn check(&self, length: u64) -> Result<()> {
        let Self { n_embd, n_head, n_kv_head, .. } = *self;
        ensure!(
            n_embd.is_multiple_of(n_head) && self.head_dim().is_multiple_of(2),
            "its dim {n_embd} must be n_heads {n_head} times an even number"
        );
        ensure!(
            n_head.is_multiple_of(n_kv_head),
            "its n_heads {n_head} must be a multiple of n_kv_heads {n_kv_head}"
        );
        let expected = self.file_len();
        ensure!(
            expected == u128::from(length),
            "its header requires {expected} bytes, but it has {length}: \
             it is truncated or not a llama2.c checkpoint"
        );
        Ok(())
    }

    /// Expected file size in bytes, as `u128` because the product of three sizes overflows `u64`.
    fn file_len(&self) -> u128 {
        let product = |dims: &[usize]| dims.iter().map(|&dim| dim as u128).product::<u128>();
        let layer: u128 = self.layer_tensors().iter().map(|(_, dims)| product(dims)).sum();
        let tables = product(&[self.context_len, self.head_dim()]); // cos and sin, (T, D/2) each
        let embedding = product(&[self.vocab_size, self.n_embd]);
        let classifiers = match self.classifier {
            Classifier::Tied => 1,
            Classifier::Untied => 2,
        };
        let numbers =
            classifiers * embedding + self.n_layer as u128 * layer + self.n_embd as u128 + tables;
        u128::from(HEADER_BYTES) + 4 * numbers
    }

    /// Names and shapes (out, in) of a layer's tensors, in file order.
    fn layer_tensors(&self) -> [(&'static str, Vec<usize>); 9] {
        let Self { n_embd: c, hidden_dim: f, n_kv_head, .. } = *self;
        let kv = n_kv_head * self.head_dim();
        [
            ("input_layernorm", vec![c]),
            ("self_attn.q_proj", vec![c, c]),
            ("self_attn.k_proj", vec![kv, c]),
            ("self_attn.v_proj", vec![kv, c]),
            ("self_attn.o_proj", vec![c, c]),
            ("post_attention_layernorm", vec![c]),
            ("mlp.gate_proj", vec![f, c]),
            ("mlp.down_proj", vec![c, f]),
            ("mlp.up_proj", vec![f, c]),
        ]
    }
}

/// Reads a checkpoint: its sizes, and its tensors (f32, on the CPU) under Hugging Face's Llama
/// names. `lm_head.weight` is present only if it is untied.
///
/// # Errors
/// When the file cannot be read, or its length does not match its sizes.
pub fn open(path: &Path) -> Result<(Llama2cHeader, BTreeMap<String, Tensor>)> {
    let reading = || format!("reading {}", path.display());
    let file = File::open(path).with_context(reading)?;
    let length = file.metadata().with_context(reading)?.len();
    read(BufReader::new(file), length).with_context(|| format!("{} cannot be used", path.display()))
}

/// Reads a checkpoint of `length` bytes; see [`open`].
pub(crate) fn read(
    mut reader: impl Read,
    length: u64,
) -> Result<(Llama2cHeader, BTreeMap<String, Tensor>)> {
    let header = Llama2cHeader::read(&mut reader, length)?;
    let Llama2cHeader { n_embd: c, n_layer, n_head, n_kv_head, vocab_size: v, .. } = header;
    let mut tensors = BTreeMap::new();
    let mut add = |name: String, numbers: Vec<f32>, dims: &[usize]| -> Result<()> {
        tensors.insert(format!("{name}.weight"), Tensor::from_vec(numbers, dims, &Device::Cpu)?);
        Ok(())
    };
    add("model.embed_tokens".into(), numbers(&mut reader, v * c)?, &[v, c])?;
    for (name, dims) in header.layer_tensors() {
        for i in 0..n_layer {
            let matrix = numbers(&mut reader, dims.iter().product())?;
            let matrix = match name {
                "self_attn.q_proj" => {
                    permute_rows(&matrix, &interleaved_to_half_order(n_head, header.head_dim()))
                }
                "self_attn.k_proj" => {
                    permute_rows(&matrix, &interleaved_to_half_order(n_kv_head, header.head_dim()))
                }
                _ => matrix,
            };
            add(format!("model.layers.{i}.{name}"), matrix, &dims)?;
        }
    }
    add("model.norm".into(), numbers(&mut reader, c)?, &[c])?;
    // Skip the cos and sin tables of RoPE, (T, D/2) each; the model computes its own.
    numbers(&mut reader, header.context_len * header.head_dim())?;
    if header.classifier == Classifier::Untied {
        add("lm_head".into(), numbers(&mut reader, v * c)?, &[v, c])?;
    }
    Ok((header, tensors))
}

/// Next `count` numbers. The header check has ensured that the file contains them.
fn numbers(mut reader: impl Read, count: usize) -> Result<Vec<f32>> {
    let mut bytes = vec![0; 4 * count];
    reader.read_exact(&mut bytes)?;
    let (numbers, _) = bytes.as_chunks::<4>();
    Ok(numbers.iter().map(|&number| f32::from_le_bytes(number)).collect())
}
