//! The checkpoints of <https://github.com/karpathy/llama2.c>, in its first `.bin` format: seven sizes, then f32 tensors.
//!
//! The tensors of a kind are together, layer after layer, with no names; the sizes alone say where each begins. They
//! get Hugging Face's names here, and q and k its order of rows ([`crate::row_order`]).

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufReader, Read};
use std::path::Path;

use anyhow::{Context, Result, bail, ensure};
use candle_core::{Device, Tensor};

use crate::row_order::{interleaved_to_half_order, permute_rows};

/// Seven numbers of 4 bytes.
const HEADER_BYTES: u64 = 28;

/// The sizes of a model.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Llama2cHeader {
    /// Width of the residual stream, C.
    pub n_embd: usize,
    /// Width within the MLP.
    pub hidden_dim: usize,
    /// Number of blocks.
    pub n_layer: usize,
    /// Number of query heads.
    pub n_head: usize,
    /// Number of key and value heads.
    pub n_kv_head: usize,
    /// Number of tokens, V.
    pub vocab_size: usize,
    /// Longest sequence that the model was trained on.
    pub context_len: usize,
    /// What turns the last activations into logits.
    pub classifier: Classifier,
}

/// Where the output matrix comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Classifier {
    /// It is the embedding table.
    Tied,
    /// It is a matrix of its own, the file's last.
    Untied,
}

impl Llama2cHeader {
    /// The base of RoPE's angles, which the format does not say: llama2.c has no other.
    pub const ROPE_THETA: f64 = 10_000.;
    /// What RMSNorm adds under its root, likewise.
    pub const RMS_NORM_EPS: f64 = 1e-5;

    /// Components of a head, D.
    pub fn head_dim(&self) -> usize {
        self.n_embd / self.n_head
    }

    /// Reads the sizes and checks that a file of `length` bytes is as long as they say.
    fn read(mut reader: impl Read, length: u64) -> Result<Self> {
        ensure!(
            length >= HEADER_BYTES,
            "it has {length} bytes, less than its header's {HEADER_BYTES}"
        );
        let mut bytes = [0; HEADER_BYTES as usize];
        reader.read_exact(&mut bytes)?;
        let (numbers, _) = bytes.as_chunks::<4>();
        ensure!(&numbers[0] != b"24ka", "it is of llama2.c's later format; export it as version 0");
        let numbers = numbers.iter().map(|&number| i32::from_le_bytes(number));
        let [n_embd, n_hidden, n_layer, n_head, n_kv_head, vocab, block_size] =
            <[i32; 7]>::try_from(numbers.collect::<Vec<_>>()).expect("28 bytes are 7 numbers");
        let size = |name: &str, number: i32| match usize::try_from(number) {
            Ok(size) if size > 0 => Ok(size),
            _ => bail!("its {name} is {number}: this is no llama2.c checkpoint"),
        };
        let header = Self {
            n_embd: size("dim", n_embd)?,
            hidden_dim: size("hidden_dim", n_hidden)?,
            n_layer: size("n_layers", n_layer)?,
            n_head: size("n_heads", n_head)?,
            n_kv_head: size("n_kv_heads", n_kv_head)?,
            vocab_size: size("vocab_size", vocab.saturating_abs())?,
            context_len: size("seq_len", block_size)?,
            // The sign of the vocabulary's size is a flag.
            classifier: if vocab > 0 { Classifier::Tied } else { Classifier::Untied },
        };
        header.check(length)?;
        Ok(header)
    }

    fn check(&self, length: u64) -> Result<()> {
        let Self { n_embd, n_head, n_kv_head, .. } = *self;
        ensure!(
            n_embd.is_multiple_of(n_head) && self.head_dim().is_multiple_of(2),
            "its dim {n_embd} is no n_heads {n_head} times an even number"
        );
        ensure!(
            n_head.is_multiple_of(n_kv_head),
            "its n_heads {n_head} is no multiple of n_kv_heads {n_kv_head}"
        );
        let expected = self.file_len();
        ensure!(
            expected == u128::from(length),
            "its header asks for {expected} bytes, but it has {length}: it is truncated or no llama2.c checkpoint"
        );
        Ok(())
    }

    /// How many bytes such a file has. In `u128`, where three sizes below 2^31 can be multiplied.
    fn file_len(&self) -> u128 {
        let product = |dims: &[usize]| dims.iter().map(|&dim| dim as u128).product::<u128>();
        let layer: u128 = self.layer_tensors().iter().map(|(_, dims)| product(dims)).sum();
        let tables = product(&[self.context_len, self.head_dim()]); // two, of half a head each
        let embedding = product(&[self.vocab_size, self.n_embd]);
        let classifiers = match self.classifier {
            Classifier::Tied => 1,
            Classifier::Untied => 2,
        };
        let numbers =
            classifiers * embedding + self.n_layer as u128 * layer + self.n_embd as u128 + tables;
        u128::from(HEADER_BYTES) + 4 * numbers
    }

    /// The tensors of a layer in the file's order, with their sizes (out, in).
    fn layer_tensors(&self) -> [(&'static str, Vec<usize>); 9] {
        let Self { n_embd: c, hidden_dim: n_hidden, n_kv_head, .. } = *self;
        let kv = n_kv_head * self.head_dim();
        [
            ("input_layernorm", vec![c]),
            ("self_attn.q_proj", vec![c, c]),
            ("self_attn.k_proj", vec![kv, c]),
            ("self_attn.v_proj", vec![kv, c]),
            ("self_attn.o_proj", vec![c, c]),
            ("post_attention_layernorm", vec![c]),
            ("mlp.gate_proj", vec![n_hidden, c]),
            ("mlp.down_proj", vec![c, n_hidden]),
            ("mlp.up_proj", vec![n_hidden, c]),
        ]
    }
}

/// Reads a checkpoint: its sizes, and its tensors (f32, on the CPU) under Hugging Face's names for Llama, with
/// `lm_head.weight` only if it is untied.
///
/// # Errors
/// When the file cannot be read, or is not as long as its sizes say.
pub fn open(path: &Path) -> Result<(Llama2cHeader, BTreeMap<String, Tensor>)> {
    let reading = || format!("reading {}", path.display());
    let file = File::open(path).with_context(reading)?;
    let length = file.metadata().with_context(reading)?.len();
    read(BufReader::new(file), length).with_context(|| format!("{} cannot be used", path.display()))
}

/// [`open`] for a file of `length` bytes.
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
    // Cosines and sines of RoPE's angles, (T, D/2) each: who rotates computes them.
    numbers(&mut reader, header.context_len * header.head_dim())?;
    if header.classifier == Classifier::Untied {
        add("lm_head".into(), numbers(&mut reader, v * c)?, &[v, c])?;
    }
    Ok((header, tensors))
}

/// The next `count` numbers; the header's check has shown that the file has them.
fn numbers(mut reader: impl Read, count: usize) -> Result<Vec<f32>> {
    let mut bytes = vec![0; 4 * count];
    reader.read_exact(&mut bytes)?;
    let (numbers, _) = bytes.as_chunks::<4>();
    Ok(numbers.iter().map(|&number| f32::from_le_bytes(number)).collect())
}
