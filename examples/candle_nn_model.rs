//! A Llama-style transformer written with candle-nn, trained by this project's tools:
//!
//! ```sh
//! cargo run --example candle_nn_model
//! ```
//!
//! candle-nn's fused operations have no backward pass, and do not say so: what is computed before
//! one of them gets no gradient. The gradient report names what they cut off. With the operations
//! of tensor_core in their place, the same model learns as part 3's.

use anyhow::Result;
use candle_core::{D, DType, Device, Module, Tensor};
use candle_nn::{Embedding, Init, Linear, VarBuilder};
use datasets::builtin_text::BuiltinText;
use model_io::ModelConfig;
use modern::GptModern;
use tensor_core::ops::{self, Positions, cross_entropy};
use tensor_core::{
    AdamW, AdamWConfig, GradientReport, Parameters, Rng, backward, clip_grad_norm, gradient_report,
};
use tiny_gpt::{Batch, ByteCorpus};

const CONTEXT_LEN: usize = 64;
const N_LAYER: usize = 2;
const N_HEAD: usize = 4;
const N_EMBD: usize = 64;
const HEAD_DIM: usize = N_EMBD / N_HEAD;
const BATCH_SIZE: usize = 8;
const STEPS: usize = 300;
const LR: f64 = 3e-3;
const SEED: u64 = 1337;
const EPS: f64 = 1e-5;

fn main() -> Result<()> {
    let device = Device::Cpu;
    let corpus = ByteCorpus::from_bytes(BuiltinText::English.text().as_bytes());
    let config = ModelConfig::byte_level(CONTEXT_LEN, N_LAYER, N_HEAD, N_EMBD);

    println!("1. With candle-nn's fused operations\n");
    let mut parameters = Parameters::seeded(SEED, DType::F32, &device);
    let model = CandleGpt::new(&parameters.var_builder(), &config, CANDLE_NN)?;
    let report = first_report(&model, &parameters, &corpus)?;
    println!("{report}\n");

    println!("2. With tensor_core's\n");
    let mut parameters = Parameters::seeded(SEED, DType::F32, &device);
    let model = CandleGpt::new(&parameters.var_builder(), &config, TENSOR_CORE)?;
    let is_layer = |name: &str| name.contains("proj");
    parameters.set_weight_decay(|parameter| is_layer(&parameter.name));
    let report = first_report(&model, &parameters, &corpus)?;
    report.ensure_complete()?;
    println!("{report}\n");

    println!("3. Trained for {STEPS} steps\n");
    let loss = train(&model, &parameters, &corpus)?;
    println!("validation loss of the model of candle-nn  {loss:.3}");
    let mut parameters = Parameters::seeded(SEED, DType::F32, &device);
    let model = GptModern::new(&config, parameters.root())?;
    let loss = train(&model, &parameters, &corpus)?;
    println!("validation loss of part 3's                {loss:.3}");
    Ok(())
}

/// Gradients of the loss before training.
fn first_report(
    model: &impl Module,
    parameters: &Parameters,
    corpus: &ByteCorpus,
) -> Result<GradientReport> {
    let mut rng = Rng::new(SEED);
    let batch =
        Batch::random(&corpus.train, BATCH_SIZE, CONTEXT_LEN, &mut rng, parameters.device())?;
    let loss = cross_entropy(&model.forward(&batch.inputs)?, &batch.targets)?;
    Ok(gradient_report(&loss, parameters)?)
}

/// Trains `model`, whose weights are `parameters`, and returns the validation loss.
fn train(model: &impl Module, parameters: &Parameters, corpus: &ByteCorpus) -> Result<f64> {
    let (device, mut rng) = (parameters.device(), Rng::new(SEED));
    let mut optimizer = AdamW::new(parameters, AdamWConfig::default())?;
    for step in 0..STEPS {
        let batch = Batch::random(&corpus.train, BATCH_SIZE, CONTEXT_LEN, &mut rng, device)?;
        let loss = cross_entropy(&model.forward(&batch.inputs)?, &batch.targets)?;
        let mut grads = backward(&loss)?;
        clip_grad_norm(&mut grads, parameters, 1.)?;
        optimizer.step(&grads, LR * (1. - step as f64 / STEPS as f64))?;
    }
    let batch = Batch::random(&corpus.validation, 64, CONTEXT_LEN, &mut rng, device)?;
    Ok(f64::from(
        cross_entropy(&model.forward(&batch.inputs)?, &batch.targets)?.to_scalar::<f32>()?,
    ))
}

/// Operations that candle-nn fuses.
#[derive(Clone, Copy)]
struct Operations {
    /// RMSNorm of `x: (.., C)` with the scale `weight: (C)`.
    rms_norm: fn(x: &Tensor, weight: &Tensor) -> candle_core::Result<Tensor>,
    /// Softmax over the last dimension.
    softmax: fn(x: &Tensor) -> candle_core::Result<Tensor>,
    /// Rotation of `x: (B, H, T, D)` by the angles of its positions, whose cosines and sines are
    /// (T, D/2).
    rope: fn(x: &Tensor, cos: &Tensor, sin: &Tensor) -> candle_core::Result<Tensor>,
}

#[expect(clippy::disallowed_methods, reason = "shows that they cut the gradient")]
const CANDLE_NN: Operations = Operations {
    rms_norm: |x, weight| candle_nn::ops::rms_norm(x, weight, EPS as f32),
    softmax: candle_nn::ops::softmax_last_dim,
    rope: candle_nn::rotary_emb::rope,
};

const TENSOR_CORE: Operations = Operations {
    rms_norm: |x, weight| ops::rms_norm(x, weight, EPS),
    softmax: ops::softmax,
    rope: |x, cos, sin| {
        let x = x.transpose(1, 2)?; // (B, T, H, D)
        ops::rope(&x, cos, sin, Positions::StartAt(0))?.transpose(1, 2)?.contiguous()
    },
};

/// Transformer of candle-nn's parts.
struct CandleGpt {
    embed_tokens: Embedding,
    blocks: Vec<Block>,
    norm: Tensor, // (C)
    cos: Tensor,  // (T, D/2)
    sin: Tensor,
    mask: Tensor, // (T, T), -inf above the diagonal
    operations: Operations,
}

struct Block {
    attention_norm: Tensor, // (C)
    q_proj: Linear,
    k_proj: Linear,
    v_proj: Linear,
    o_proj: Linear,
    mlp_norm: Tensor, // (C)
    gate_proj: Linear,
    up_proj: Linear,
    down_proj: Linear,
}

impl CandleGpt {
    fn new(
        builder: &VarBuilder<'_>,
        config: &ModelConfig,
        operations: Operations,
    ) -> candle_core::Result<Self> {
        let (model, device) = (builder.pp("model"), builder.device());
        let init = Init::Randn { mean: 0., stdev: config.init_std };
        let table = model.pp("embed_tokens").get_with_hints((256, N_EMBD), "weight", init)?;
        let blocks = (0..N_LAYER).map(|i| Block::new(&model.pp("layers").pp(i), config));
        let frequencies: Vec<f32> =
            (0..HEAD_DIM / 2).map(|i| 10_000f32.powf(-2. * i as f32 / HEAD_DIM as f32)).collect();
        let positions = Tensor::arange(0f32, CONTEXT_LEN as f32, device)?.unsqueeze(1)?;
        let angles = positions.broadcast_mul(&Tensor::new(frequencies, device)?.unsqueeze(0)?)?;
        let mask = (0..CONTEXT_LEN * CONTEXT_LEN).map(|i| {
            let (query, key) = (i / CONTEXT_LEN, i % CONTEXT_LEN);
            if key > query { f32::NEG_INFINITY } else { 0. }
        });
        Ok(Self {
            embed_tokens: Embedding::new(table, N_EMBD),
            blocks: blocks.collect::<candle_core::Result<_>>()?,
            norm: model.pp("norm").get_with_hints(N_EMBD, "weight", Init::Const(1.))?,
            cos: angles.cos()?,
            sin: angles.sin()?,
            mask: Tensor::from_iter(mask, device)?.reshape((CONTEXT_LEN, CONTEXT_LEN))?,
            operations,
        })
    }

    /// Self-attention of `x: (B, T, C)`.
    fn attend(&self, block: &Block, x: &Tensor) -> candle_core::Result<Tensor> {
        let (b, t, _) = x.dims3()?;
        let heads = |x: Tensor| {
            x.reshape((b, t, N_HEAD, HEAD_DIM))?.transpose(1, 2)?.contiguous() // (B, H, T, D)
        };
        let rotated = |x: Tensor| (self.operations.rope)(&heads(x)?, &self.cos, &self.sin);
        let q = rotated(block.q_proj.forward(x)?)?;
        let k = rotated(block.k_proj.forward(x)?)?;
        let v = heads(block.v_proj.forward(x)?)?;
        let scores = (q.matmul(&k.transpose(D::Minus2, D::Minus1)?)? / (HEAD_DIM as f64).sqrt())?;
        let weights = (self.operations.softmax)(&scores.broadcast_add(&self.mask)?)?;
        let mixed = weights.matmul(&v)?.transpose(1, 2)?.reshape((b, t, N_EMBD))?;
        block.o_proj.forward(&mixed)
    }
}

impl Module for CandleGpt {
    /// Logits (B, T, 256) of `ids: (B, T)`.
    fn forward(&self, ids: &Tensor) -> candle_core::Result<Tensor> {
        let mut x = self.embed_tokens.forward(ids)?; // (B, T, C)
        for block in &self.blocks {
            let normalized = (self.operations.rms_norm)(&x, &block.attention_norm)?;
            x = (x + self.attend(block, &normalized)?)?;
            x = (&x + block.mlp(&(self.operations.rms_norm)(&x, &block.mlp_norm)?)?)?;
        }
        let x = (self.operations.rms_norm)(&x, &self.norm)?;
        Linear::new(self.embed_tokens.embeddings().clone(), None).forward(&x) // tied
    }
}

impl Block {
    fn new(builder: &VarBuilder<'_>, config: &ModelConfig) -> candle_core::Result<Self> {
        let width = ModelConfig::swiglu_width(N_EMBD);
        let residual = config.init_std / (2. * N_LAYER as f64).sqrt();
        let linear = |name: &str, n_in: usize, n_out: usize, stdev: f64| {
            let init = Init::Randn { mean: 0., stdev };
            let weight = builder.pp(name).get_with_hints((n_out, n_in), "weight", init)?;
            candle_core::Result::Ok(Linear::new(weight, None))
        };
        let norm = |name| builder.pp(name).get_with_hints(N_EMBD, "weight", Init::Const(1.));
        let std = config.init_std;
        Ok(Self {
            attention_norm: norm("input_layernorm")?,
            q_proj: linear("self_attn.q_proj", N_EMBD, N_EMBD, std)?,
            k_proj: linear("self_attn.k_proj", N_EMBD, N_EMBD, std)?,
            v_proj: linear("self_attn.v_proj", N_EMBD, N_EMBD, std)?,
            o_proj: linear("self_attn.o_proj", N_EMBD, N_EMBD, residual)?,
            mlp_norm: norm("post_attention_layernorm")?,
            gate_proj: linear("mlp.gate_proj", N_EMBD, width, std)?,
            up_proj: linear("mlp.up_proj", N_EMBD, width, std)?,
            down_proj: linear("mlp.down_proj", width, N_EMBD, residual)?,
        })
    }

    /// SwiGLU of `x: (B, T, C)`.
    fn mlp(&self, x: &Tensor) -> candle_core::Result<Tensor> {
        let gate = candle_nn::ops::silu(&self.gate_proj.forward(x)?)?;
        self.down_proj.forward(&(gate * self.up_proj.forward(x)?)?)
    }
}
