//! Single operations on random inputs, forward and backward.

use candle_core::{Context, D, DType, Device, Module, Result, Shape, Tensor, Var, bail};
use tensor_core::ops::{self, AttentionMask, Gelu, Positions};
use tensor_core::{Rng, backward};

type OpFn = Box<dyn Fn(&[Tensor]) -> Result<Tensor>>;

/// A fused operation, its reference implementation, candle-nn's, and inputs for all.
pub struct Operation {
    inputs: Vec<Var>,
    fused: OpFn,
    reference: OpFn,
    candle_nn: Option<OpFn>,
}

/// Implementation of an operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Implementation {
    /// A single loop.
    Fused,
    /// A chain of plain tensor operations.
    Reference,
    /// The fastest of candle-nn that has a gradient.
    CandleNn,
}

impl Operation {
    /// Operations of [`Operation::new`] with the shape of the benchmark: rows and width; rows,
    /// input and output width for `linear`; (B, T, H, D) for `rope`; rows, V and C for `embedding`.
    pub const ALL: [(&'static str, &'static [usize]); 11] = [
        ("softmax", &[2048, 256]),
        ("log_softmax", &[2048, 256]),
        ("layer_norm", &[2048, 384]),
        ("rms_norm", &[2048, 384]),
        ("gelu", &[2048, 1024]),
        ("gelu_tanh", &[2048, 1024]),
        ("silu_mul", &[2048, 1024]),
        ("rope", &[8, 256, 6, 64]),
        ("linear", &[2048, 384, 1024]),
        ("embedding", &[2048, 8192, 384]),
        ("cross_entropy", &[2048, 8192]),
    ];

    /// Operation `name` on random inputs of `shape`; `None` if there is no such operation.
    #[expect(clippy::too_many_lines, reason = "a table: one entry per operation")]
    pub fn new(name: &str, shape: &[usize]) -> Result<Option<Self>> {
        let mut rng = Rng::new(1);
        Ok(Some(match (name, shape) {
            ("softmax", &[n, c]) => Self::with_input(
                random(&mut rng, (n, c))?,
                |x| ops::softmax(&x[0]),
                |x| ops::softmax::reference(&x[0]),
            )
            .beside(|x| candle_nn::ops::softmax(&x[0], D::Minus1)),
            ("log_softmax", &[n, c]) => Self::with_input(
                random(&mut rng, (n, c))?,
                |x| ops::log_softmax(&x[0]),
                |x| ops::log_softmax::reference(&x[0]),
            )
            .beside(|x| candle_nn::ops::log_softmax(&x[0], D::Minus1)),
            ("layer_norm", &[n, c]) => Self::with_inputs(
                vec![random(&mut rng, (n, c))?, random(&mut rng, c)?, random(&mut rng, c)?],
                |x| ops::layer_norm(&x[0], &x[1], &x[2], 1e-5),
                |x| ops::layer_norm::reference(&x[0], &x[1], &x[2], 1e-5),
            )
            .beside(|x| candle_nn::ops::layer_norm_slow(&x[0], &x[1], &x[2], 1e-5)),
            ("rms_norm", &[n, c]) => Self::with_inputs(
                vec![random(&mut rng, (n, c))?, random(&mut rng, c)?],
                |x| ops::rms_norm(&x[0], &x[1], 1e-5),
                |x| ops::rms_norm::reference(&x[0], &x[1], 1e-5),
            )
            .beside(|x| candle_nn::ops::rms_norm_slow(&x[0], &x[1], 1e-5)),
            ("gelu", &[n, c]) => Self::with_input(
                random(&mut rng, (n, c))?,
                |x| ops::gelu(&x[0], Gelu::Exact),
                |x| ops::gelu::reference(&x[0], Gelu::Exact),
            )
            .beside(|x| candle_nn::Activation::Gelu.forward(&x[0])),
            ("gelu_tanh", &[n, c]) => Self::with_input(
                random(&mut rng, (n, c))?,
                |x| ops::gelu(&x[0], Gelu::Tanh),
                |x| ops::gelu::reference(&x[0], Gelu::Tanh),
            )
            .beside(|x| candle_nn::Activation::GeluPytorchTanh.forward(&x[0])),
            ("silu_mul", &[n, c]) => Self::with_inputs(
                vec![random(&mut rng, (n, c))?, random(&mut rng, (n, c))?],
                |x| ops::silu_mul(&x[0], &x[1]),
                |x| ops::silu_mul::reference(&x[0], &x[1]),
            )
            .beside(|x| candle_nn::ops::silu(&x[0])? * &x[1]),
            ("rope", &[b, t, h, d]) => {
                let x = random(&mut rng, (b, t, h, d))?;
                let (cos, sin) = (random(&mut rng, (t, d / 2))?, random(&mut rng, (t, d / 2))?);
                let (cos, sin) = (cos.as_detached_tensor(), sin.as_detached_tensor());
                let tables = (cos.clone(), sin.clone());
                let candle_tables = tables.clone();
                Self::with_input(
                    x,
                    move |x| ops::rope(&x[0], &cos, &sin, Positions::StartAt(0)),
                    move |x| {
                        ops::rope::reference(&x[0], &tables.0, &tables.1, Positions::StartAt(0))
                    },
                )
                .beside(move |x| {
                    let x = x[0].transpose(1, 2)?; // (B, H, T, D)
                    candle_nn::rotary_emb::rope_slow(&x, &candle_tables.0, &candle_tables.1)?
                        .transpose(1, 2)
                })
            }
            ("linear", &[n, n_in, n_out]) => Self::with_inputs(
                vec![
                    random(&mut rng, (n, n_in))?,
                    random(&mut rng, (n_out, n_in))?,
                    random(&mut rng, n_out)?,
                ],
                |x| ops::linear(&x[0], &x[1], Some(&x[2])),
                |x| ops::linear::reference(&x[0], &x[1], Some(&x[2])),
            )
            .beside(|x| candle_nn::Linear::new(x[1].clone(), Some(x[2].clone())).forward(&x[0])),
            ("embedding", &[n, v, c]) => {
                let weight = random(&mut rng, (v, c))?;
                let ids = Tensor::from_iter((0..n).map(|_| rng.below(v) as u32), &Device::Cpu)?;
                let (reference_ids, candle_ids) = (ids.clone(), ids.clone());
                Self::with_input(
                    weight,
                    move |x| ops::embedding(&x[0], &ids),
                    move |x| ops::embedding::reference(&x[0], &reference_ids),
                )
                .beside(move |x| candle_nn::Embedding::new(x[0].clone(), c).forward(&candle_ids))
            }
            ("cross_entropy", &[n, v]) => {
                let logits = random(&mut rng, (n, v))?;
                let targets = (0..n).map(|_| rng.below(v) as i64);
                let targets = Tensor::from_iter(targets, &Device::Cpu)?;
                let (reference_targets, candle_targets) = (targets.clone(), targets.clone());
                Self::with_input(
                    logits,
                    move |x| ops::cross_entropy(&x[0], &targets),
                    move |x| ops::cross_entropy::reference(&x[0], &reference_targets),
                )
                .beside(move |x| candle_nn::loss::cross_entropy(&x[0], &candle_targets))
            }
            _ => return Ok(None),
        }))
    }

    /// Causal attention. The argument is in PyTorch's order (B, H, T, D); the tensors are in our
    /// layout (B, T, H, D).
    pub fn attention([b, h, t, d]: [usize; 4]) -> Result<Self> {
        let mut rng = Rng::new(1);
        let inputs = (0..3).map(|_| random(&mut rng, (b, t, h, d))).collect::<Result<_>>()?;
        Ok(Self::with_inputs(
            inputs,
            |x| ops::attention(&x[0], &x[1], &x[2], &AttentionMask::causal()),
            |x| ops::attention::reference(&x[0], &x[1], &x[2], &AttentionMask::causal()),
        ))
    }

    fn with_input(
        input: Var,
        fused: impl Fn(&[Tensor]) -> Result<Tensor> + 'static,
        reference: impl Fn(&[Tensor]) -> Result<Tensor> + 'static,
    ) -> Self {
        Self::with_inputs(vec![input], fused, reference)
    }

    fn with_inputs(
        inputs: Vec<Var>,
        fused: impl Fn(&[Tensor]) -> Result<Tensor> + 'static,
        reference: impl Fn(&[Tensor]) -> Result<Tensor> + 'static,
    ) -> Self {
        let (fused, reference) = (Box::new(fused), Box::new(reference));
        Self { inputs, fused, reference, candle_nn: None }
    }

    /// Adds candle-nn's implementation.
    fn beside(self, candle_nn: impl Fn(&[Tensor]) -> Result<Tensor> + 'static) -> Self {
        Self { candle_nn: Some(Box::new(candle_nn)), ..self }
    }

    fn run(&self, implementation: Implementation, inputs: &[Tensor]) -> Result<Tensor> {
        match implementation {
            Implementation::Fused => (self.fused)(inputs),
            Implementation::Reference => (self.reference)(inputs),
            Implementation::CandleNn => match &self.candle_nn {
                Some(candle_nn) => candle_nn(inputs),
                None => bail!("candle-nn has no such operation"),
            },
        }
    }

    /// Runs the forward pass without recording a graph.
    pub fn forward(&self, implementation: Implementation) -> Result<Tensor> {
        let inputs: Vec<Tensor> = self.inputs.iter().map(Var::as_detached_tensor).collect();
        self.run(implementation, &inputs)
    }

    /// Runs the forward pass, and the backward pass from a gradient of ones, candle's own for
    /// candle-nn. Returns the gradients of the inputs.
    ///
    /// # Errors
    /// When an input gets no gradient.
    pub fn forward_backward(&self, implementation: Implementation) -> Result<Vec<Tensor>> {
        let inputs: Vec<Tensor> = self.inputs.iter().map(|x| x.as_tensor().clone()).collect();
        let output = self.run(implementation, &inputs)?;
        let grads = match implementation {
            Implementation::CandleNn => output.backward()?,
            Implementation::Fused | Implementation::Reference => backward(&output)?,
        };
        let grad = |input: &Tensor| grads.get(input).cloned().context("an input has no gradient");
        inputs.iter().map(grad).collect()
    }
}

fn random(rng: &mut Rng, shape: impl Into<Shape>) -> Result<Var> {
    Var::from_tensor(&rng.normal_tensor(shape, 1., DType::F32, &Device::Cpu)?)
}
