use std::collections::BTreeMap;

use anyhow::Result;
use candle_core::Tensor;
use proptest::prelude::*;
use tensor_core::testing::course_data;

use super::error;
use crate::config::{LmHead, Mlp};
use crate::llama2c::{self, RMS_NORM_EPS, ROPE_THETA};
use crate::{AddSpecialTokens, ModelConfig, ParseSpecial, SkipSpecialTokens, llama2c_tokenizer};

/// dim, hidden_dim, n_layers, n_heads, n_kv_heads, vocab_size, seq_len.
const SIZES: [i32; 7] = [8, 12, 2, 2, 1, -10, 6];

/// Checkpoint file with these sizes and the numbers 0, 1, 2, up to `count`.
fn file(sizes: [i32; 7], count: usize) -> Vec<u8> {
    let numbers = (0..count).flat_map(|i| (i as f32).to_le_bytes());
    sizes.into_iter().flat_map(i32::to_le_bytes).chain(numbers).collect()
}

fn open(bytes: &[u8]) -> Result<(ModelConfig, BTreeMap<String, Tensor>)> {
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("model.bin");
    std::fs::write(&path, bytes)?;
    llama2c::open(&path)
}

/// Number of values in a file of [`SIZES`]: embedding, norms, q, k, v, o, MLP, last norm, RoPE,
/// classifier.
const COUNT: usize = 80 + 2 * (2 * 8 + 64 + 32 + 32 + 64 + 3 * 96) + 8 + 24 + 80;

#[test]
fn tensors_are_read_from_their_offsets_in_the_file() -> Result<()> {
    let (config, tensors) = open(&file(SIZES, COUNT))?;
    let ModelConfig { n_embd, n_layer, vocab_size, context_len, mlp, lm_head, .. } = config;
    let (n_head, n_kv_head) = (config.attention.n_head, config.attention.n_kv_head);
    assert_eq!((n_embd, mlp), (8, Mlp::SwiGlu { width: 12 }));
    assert_eq!((n_layer, n_head, n_kv_head), (2, 2, 1));
    assert_eq!((vocab_size, context_len, lm_head), (10, 6, LmHead::Untied));
    assert_eq!(tensors.len(), 3 + 2 * 9);
    let q = 80 + 2 * 8; // offset of q_proj in layer 0
    for (name, dims, start) in [
        ("model.embed_tokens", vec![10, 8], 0),
        ("model.layers.0.input_layernorm", vec![8], 80),
        ("model.layers.1.input_layernorm", vec![8], 88),
        ("model.layers.1.self_attn.q_proj", vec![8, 8], q + 64),
        ("model.layers.0.self_attn.k_proj", vec![4, 8], q + 128),
        ("model.layers.1.self_attn.v_proj", vec![4, 8], q + 128 + 64 + 32),
        ("model.layers.0.self_attn.o_proj", vec![8, 8], q + 256),
        ("model.layers.1.post_attention_layernorm", vec![8], q + 384 + 8),
        ("model.layers.0.mlp.gate_proj", vec![12, 8], q + 400),
        ("model.layers.0.mlp.down_proj", vec![8, 12], q + 400 + 192),
        ("model.layers.1.mlp.up_proj", vec![12, 8], q + 400 + 384 + 96),
        ("model.norm", vec![8], q + 400 + 576),
        ("lm_head", vec![10, 8], COUNT - 80),
    ] {
        let tensor = &tensors[&format!("{name}.weight")];
        assert_eq!(tensor.dims(), dims, "{name}");
        assert_eq!(tensor.flatten_all()?.to_vec1::<f32>()?[0], start as f32, "{name}");
    }
    // Rows of 8 numbers: two heads of four rows, even rows first.
    let first_column = |name: &str| -> Result<Vec<f32>> {
        let rows = tensors[&format!("model.layers.0.self_attn.{name}.weight")].to_vec2::<f32>()?;
        Ok(rows.iter().map(|row| row[0]).collect())
    };
    assert_eq!(first_column("q_proj")?, [0, 2, 1, 3, 4, 6, 5, 7].map(|row| (q + 8 * row) as f32));
    assert_eq!(first_column("k_proj")?, [0, 2, 1, 3].map(|row| (q + 128 + 8 * row) as f32));
    assert_eq!(first_column("v_proj")?, [0, 1, 2, 3].map(|row| (q + 192 + 8 * row) as f32));
    Ok(())
}

#[test]
fn a_tied_checkpoint_has_no_lm_head_tensor() -> Result<()> {
    let (config, tensors) = open(&file([8, 12, 2, 2, 1, 10, 6], COUNT - 80))?;
    assert_eq!((config.lm_head, config.vocab_size), (LmHead::Tied, 10));
    assert!(!tensors.contains_key("lm_head.weight"));
    Ok(())
}

#[test]
fn invalid_checkpoints_are_rejected_with_the_reason() {
    let with = |index: usize, size: i32| {
        let mut sizes = SIZES;
        sizes[index] = size;
        error(open(&file(sizes, COUNT)))
    };
    for (message, reason) in [
        (error(open(&file(SIZES, COUNT - 1))), "requires 4764 bytes, but it has 4760"),
        (error(open(&file(SIZES, COUNT + 1))), "requires 4764 bytes, but it has 4768"),
        (error(open(b"GGUF")), "it has 4 bytes, fewer than the 28 of the header"),
        (with(0, 0), "its dim is 0"),
        (with(5, 0), "its vocab_size is 0"),
        (with(2, -5), "its n_layers is -5"),
        (with(3, 3), "its dim 8 must be n_heads 3 times an even number"),
        (with(3, 8), "its dim 8 must be n_heads 8 times an even number"),
        (with(4, 4), "its n_heads 2 must be a multiple of n_kv_heads 4"),
        (with(0, i32::from_le_bytes(*b"24ka")), "later llama2.c format"),
        (
            error(open(&file([i32::MAX - 1, i32::MAX, i32::MAX, 1, 1, i32::MIN, i32::MAX], 0))),
            "requires",
        ),
    ] {
        assert!(
            message.contains("model.bin cannot be used: ") && message.contains(reason),
            "{message}"
        );
    }
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 500, failure_persistence: None, ..Default::default()
    })]

    #[test]
    fn reading_never_panics_on_any_sizes(
        sizes in prop::array::uniform7(prop_oneof![any::<i32>(), -4..9]),
        length in any::<u64>(),
    ) {
        let bytes = file(sizes, 10);
        prop_assert!(llama2c::read(&bytes[..], length).is_err());
    }
}

/// Output of llama2.c's `run -t 0.0`, from its `doc/stories260K.md` and `test_all.py`.
const STORY: &str = "Once upon a time, there was a little girl named Lily. She loved to play \
    outside in the park. One day, she saw a big, red ball. She wanted to play with it, but it was \
    too high.\nLily's mom said, \"Lily, let's go to the park.\" Lily was sad and didn't know what \
    to do. She said, \"I want to play with your ball, but I can't find it.\"\nLily was sad and \
    didn't know what to do. She said, \"I'm sorry, Lily. I didn't know what to do.\"\nLily didn't \
    want to help her mom, so she";

#[test]
fn stories260k_generates_the_same_text_as_llama2c() -> Result<()> {
    let Some(path) = course_data("models/stories260K.bin") else { return Ok(()) };
    let Some(tokenizer) = course_data("models/tok512.bin") else { return Ok(()) };
    let tokenizer = llama2c_tokenizer::open(&tokenizer)?;
    let (config, tensors) = llama2c::open(&path)?;
    assert_eq!(tokenizer.vocab_size(), config.vocab_size);
    let mut llama = Llama::new(config, &tensors)?;
    let mut tokens = tokenizer.encode("", AddSpecialTokens::Yes, ParseSpecial::No)?;
    while tokens.len() <= 200 {
        let logits = llama.forward(tokens[tokens.len() - 1] as usize);
        let best = (0..logits.len()).max_by(|&a, &b| logits[a].total_cmp(&logits[b])).unwrap();
        tokens.push(best as u32);
    }
    assert_eq!(tokenizer.decode(&tokens, SkipSpecialTokens::Yes)?, STORY);
    Ok(())
}

/// Independent Llama with rotated halves and a KV cache, in plain loops. The test of the reader
/// must not depend on a model of this workspace.
struct Llama {
    config: ModelConfig,
    weights: BTreeMap<String, Vec<f32>>,
    cache: Vec<Vec<[Vec<f32>; 2]>>, // [layer][position], key and value
}

impl Llama {
    fn new(config: ModelConfig, tensors: &BTreeMap<String, Tensor>) -> Result<Self> {
        let weights = tensors.iter().map(|(name, tensor)| {
            Ok((name.trim_end_matches(".weight").to_string(), tensor.flatten_all()?.to_vec1()?))
        });
        Ok(Self {
            config,
            weights: weights.collect::<Result<_>>()?,
            cache: vec![Vec::new(); config.n_layer],
        })
    }

    fn matmul(&self, name: &str, x: &[f32]) -> Vec<f32> {
        self.weights[name].chunks(x.len()).map(|row| dot(row, x)).collect()
    }

    fn norm(&self, name: &str, x: &[f32]) -> Vec<f32> {
        let scale = (dot(x, x) / x.len() as f32 + RMS_NORM_EPS as f32).sqrt().recip();
        self.weights[name].iter().zip(x).map(|(weight, x)| weight * (x * scale)).collect()
    }

    /// Logits (V) after `token`.
    fn forward(&mut self, token: usize) -> Vec<f32> {
        let attention = self.config.attention;
        let (c, d) = (self.config.n_embd, attention.head_dim);
        let mut x = self.weights["model.embed_tokens"][token * c..][..c].to_vec();
        for i in 0..self.config.n_layer {
            let name = |name: &str| format!("model.layers.{i}.{name}");
            let h = self.norm(&name("input_layernorm"), &x);
            let [q, k, v] = ["q", "k", "v"]
                .map(|kind| self.matmul(&name(&format!("self_attn.{kind}_proj")), &h));
            let position = self.cache[i].len();
            let (q, k) = (rotate(q, position, d), rotate(k, position, d));
            self.cache[i].push([k, v]);
            let heads = q.chunks(d).enumerate().flat_map(|(head, q)| {
                let at = head / (attention.n_head / attention.n_kv_head) * d;
                let weights = self.cache[i]
                    .iter()
                    .map(|[k, _]| (dot(q, &k[at..][..d]) / (d as f32).sqrt()).exp());
                let weights: Vec<f32> = weights.collect();
                let total: f32 = weights.iter().sum();
                let mean = |j| {
                    self.cache[i]
                        .iter()
                        .zip(&weights)
                        .map(|([_, v], weight)| weight * v[at + j])
                        .sum::<f32>()
                };
                (0..d).map(|j| mean(j) / total).collect::<Vec<_>>()
            });
            let heads: Vec<f32> = heads.collect();
            add(&mut x, &self.matmul(&name("self_attn.o_proj"), &heads));
            let h = self.norm(&name("post_attention_layernorm"), &x);
            let gate = self.matmul(&name("mlp.gate_proj"), &h);
            let up = self.matmul(&name("mlp.up_proj"), &h);
            let h: Vec<f32> =
                gate.iter().zip(&up).map(|(gate, up)| gate / (1. + (-gate).exp()) * up).collect();
            add(&mut x, &self.matmul(&name("mlp.down_proj"), &h));
        }
        self.matmul("model.embed_tokens", &self.norm("model.norm", &x))
    }
}

fn dot(a: &[f32], b: &[f32]) -> f32 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

fn add(x: &mut [f32], y: &[f32]) {
    x.iter_mut().zip(y).for_each(|(x, y)| *x += y);
}

/// RoPE on heads of `d` components, whose pairs are the two halves.
fn rotate(mut x: Vec<f32>, position: usize, d: usize) -> Vec<f32> {
    for head in x.chunks_mut(d) {
        let (a, b) = head.split_at_mut(d / 2);
        for (i, (a, b)) in a.iter_mut().zip(b).enumerate() {
            let angle = position as f64 * ROPE_THETA.powf(-2. * i as f64 / d as f64);
            let (sin, cos) = (angle.sin() as f32, angle.cos() as f32);
            (*a, *b) = (*a * cos - *b * sin, *a * sin + *b * cos);
        }
    }
    x
}
