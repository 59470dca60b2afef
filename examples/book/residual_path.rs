//! Chapter 1: the size of the gradient, and the similarity of the tokens, at every depth of an
//! untrained stack of 12 blocks, with and without the residual path and the norms.

use anyhow::Result;
use attention::{Block, BlockConfig, FeedForward, MultiHeadAttention};
use candle_core::{DType, Device, Module, Tensor, Var};
use tensor_core::ops::{Gelu, add};
use tensor_core::{LayerNorm, Parameters, Rng, backward};

use crate::artifacts::Artifact;
use crate::plot::{self, Axes, Mark, Series};

const DEPTH: usize = 12;
const C: usize = 64;
const T: usize = 16;

/// Ways to put a layer into the stack.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Wiring {
    /// x + f(LN(x)), part 1's block.
    PreNorm,
    /// LN(x + f(x)), as in the first Transformer.
    PostNorm,
    /// f(LN(x)): no residual path.
    NormAlone,
    /// f(x): neither.
    Plain,
}

/// Block of any wiring.
struct Layer {
    wiring: Wiring,
    block: Block,
    attention: MultiHeadAttention,
    feed_forward: FeedForward,
    norms: [LayerNorm; 2],
}

impl Layer {
    fn new(parameters: &mut Parameters, i: usize, wiring: Wiring) -> Result<Self> {
        let config = BlockConfig {
            n_layer: DEPTH,
            n_head: 4,
            n_embd: C,
            dropout: 0.,
            gelu: Gelu::Tanh,
            layer_norm_eps: 1e-5,
        };
        let mut root = parameters.root();
        let mut scope = root.at(i);
        Ok(Self {
            wiring,
            block: Block::new(scope.at("block"), &config)?,
            attention: MultiHeadAttention::new(scope.at("attention"), &config)?,
            feed_forward: FeedForward::new(scope.at("feed_forward"), &config)?,
            norms: [
                LayerNorm::new(scope.at("norm_1"), C, 1e-5)?,
                LayerNorm::new(scope.at("norm_2"), C, 1e-5)?,
            ],
        })
    }

    fn forward(&self, x: &Tensor) -> candle_core::Result<Tensor> {
        let layers: [&dyn Module; 2] = [&self.attention, &self.feed_forward];
        if self.wiring == Wiring::PreNorm {
            return self.block.forward(x);
        }
        layers.into_iter().zip(&self.norms).try_fold(x.clone(), |x, (layer, norm)| {
            match self.wiring {
                Wiring::PostNorm => norm.forward(&add(&x, &layer.forward(&x)?)?),
                Wiring::NormAlone => layer.forward(&norm.forward(&x)?),
                _ => layer.forward(&x),
            }
        })
    }
}

/// Sets every matrix to normal numbers with variance 1 / inputs, so that a product with it keeps
/// the scale of its input; GELU and averages over tokens do not.
fn keep_scale(parameters: &Parameters) -> Result<()> {
    let mut rng = Rng::new(2);
    for parameter in parameters.iter() {
        if let [n_out, n_in] = *parameter.var.dims() {
            let std = 1. / (n_in as f64).sqrt();
            let fresh = rng.normal_tensor((n_out, n_in), std, DType::F64, &Device::Cpu)?;
            parameter.var.set(&fresh)?;
        }
    }
    Ok(())
}

/// Measurements at each block, from the first to the last.
pub(crate) struct Depths {
    /// Norm of the gradient with respect to the block's input, of a random linear function of the
    /// stack's normed output.
    pub(crate) gradient_norms: Vec<f64>,
    /// Mean cosine of the block's outputs for two tokens.
    pub(crate) similarities: Vec<f64>,
}

/// Runs the stack forwards and backwards on random vectors.
pub(crate) fn measure(wiring: Wiring) -> Result<Depths> {
    let device = Device::Cpu;
    let mut parameters = Parameters::seeded(0, DType::F64, &device);
    let layers: Vec<Layer> =
        (0..DEPTH).map(|i| Layer::new(&mut parameters, i, wiring)).collect::<Result<_>>()?;
    let last_norm = LayerNorm::new(parameters.root().at("last"), C, 1e-5)?;
    keep_scale(&parameters)?;
    let mut rng = Rng::new(1);
    let mut x = rng.normal_tensor((1, T, C), 1., DType::F64, &device)?;
    let weights = rng.normal_tensor((1, T, C), 1., DType::F64, &device)?;
    let (mut probes, mut similarities) = (Vec::new(), Vec::new());
    for layer in &layers {
        let probe = Var::zeros((1, T, C), DType::F64, &device)?; // its gradient is that of x
        x = layer.forward(&add(&x, probe.as_tensor())?)?;
        probes.push(probe);
        similarities.push(similarity(&x.detach().squeeze(0)?)?);
    }
    let gradients = backward(&(last_norm.forward(&x)? * weights)?.sum_all()?)?;
    let norm = |probe: &Var| -> Result<f64> {
        let gradient = gradients.get(probe.as_tensor()).expect("every probe is used");
        Ok(gradient.sqr()?.sum_all()?.to_scalar::<f64>()?.sqrt())
    };
    Ok(Depths { gradient_norms: probes.iter().map(norm).collect::<Result<_>>()?, similarities })
}

/// Mean cosine of two different rows of `x: (T, C)`.
fn similarity(x: &Tensor) -> Result<f64> {
    let unit = x.broadcast_div(&x.sqr()?.sum_keepdim(1)?.sqrt()?)?; // (T, C)
    let all = unit.matmul(&unit.t()?)?.sum_all()?.to_scalar::<f64>()?; // of (T, T)
    Ok((all - T as f64) / (T * (T - 1)) as f64)
}

/// Figure and table of the measurements.
pub(crate) fn artifacts() -> Result<Vec<Artifact>> {
    let kinds = [
        ("x + f(LN(x))", Wiring::PreNorm),
        ("LN(x + f(x))", Wiring::PostNorm),
        ("f(LN(x))", Wiring::NormAlone),
        ("f(x)", Wiring::Plain),
    ];
    let (mut gradients, mut similarities, mut rows) = (Vec::new(), Vec::new(), Vec::new());
    for (color, (name, wiring)) in kinds.into_iter().enumerate() {
        let depths = measure(wiring)?;
        let last = depths.gradient_norms[DEPTH - 1];
        let ratios = depths.gradient_norms.iter().map(|norm| (norm / last).log10());
        let line = |values: Vec<f64>| {
            let points = (1..).map(f64::from).zip(values).collect();
            Series::line(name, color, points).marked(Mark::LineAndDots)
        };
        gradients.push(line(ratios.collect()));
        let first = depths.gradient_norms[0] / last;
        let similarity = depths.similarities[DEPTH - 1];
        let ratio = if first < 0.1 { format!("{first:.4}") } else { format!("{first:.1}") };
        rows.push(vec![format!("`{name}`"), ratio, format!("{similarity:.2}")]);
        similarities.push(Series { name: "", ..line(depths.similarities) });
    }
    let svg = plot::figure(560, |area| {
        let (above, below) = area.split_vertically(300);
        let axes = Axes {
            title: "gradient at the input of each block, relative to block 12",
            x: ("block", 1. ..12.2),
            y: ("log₁₀ of the ratio", -4. ..2.),
            x_tick: plot::plain,
        };
        plot::chart(&above, &axes, &gradients)?;
        let axes = Axes {
            title: "similarity of two tokens after each block: mean cosine",
            x: ("block", 1. ..12.2),
            y: ("cosine", 0. ..1.05),
            x_tick: plot::plain,
        };
        plot::chart(&below, &axes, &similarities)
    })?;
    let header = ["a layer", "gradient at block 1 / at block 12", "mean cosine after block 12"];
    Ok(vec![
        Artifact::figure("residual_path", svg),
        Artifact::table("residual_path", &header, &rows),
    ])
}
