//! Single operations on random numbers, forward and backward, as the benchmarks run them.

use candle_core::{DType, Device, Result, Shape, Tensor, Var};
use tensor_core::ops::{self, AttentionMask, Gelu, Positions};
use tensor_core::{Rng, backward};

type Run = Box<dyn Fn(&[Tensor]) -> Result<Tensor>>;

/// An operation, its reference, and inputs for both.
pub struct Operation {
    inputs: Vec<Var>,
    fused: Run,
    reference: Run,
}

/// Which twin of an operation to run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Twin {
    /// One loop.
    Fused,
    /// A chain of plain tensor operations.
    Reference,
}

impl Operation {
    /// The operations that [`Operation::new`] knows, each with the shape it is measured at: rows and width; rows, in and
    /// out for `linear`; (B, T, H, D) for `rope`; rows, V and C for `embedding`.
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

    /// The operation `name` on random inputs of `shape`; `None` if there is no such operation.
    #[expect(clippy::too_many_lines, reason = "a table: one entry per operation")]
    pub fn new(name: &str, shape: &[usize]) -> Result<Option<Self>> {
        let mut rng = Rng::new(1);
        Ok(Some(match (name, shape) {
            ("softmax", &[n, c]) => Self::one(
                random(&mut rng, (n, c))?,
                |x| ops::softmax(&x[0]),
                |x| ops::softmax::reference(&x[0]),
            ),
            ("log_softmax", &[n, c]) => Self::one(
                random(&mut rng, (n, c))?,
                |x| ops::log_softmax(&x[0]),
                |x| ops::log_softmax::reference(&x[0]),
            ),
            ("layer_norm", &[n, c]) => Self::many(
                vec![random(&mut rng, (n, c))?, random(&mut rng, c)?, random(&mut rng, c)?],
                |x| ops::layer_norm(&x[0], &x[1], &x[2], 1e-5),
                |x| ops::layer_norm::reference(&x[0], &x[1], &x[2], 1e-5),
            ),
            ("rms_norm", &[n, c]) => Self::many(
                vec![random(&mut rng, (n, c))?, random(&mut rng, c)?],
                |x| ops::rms_norm(&x[0], &x[1], 1e-5),
                |x| ops::rms_norm::reference(&x[0], &x[1], 1e-5),
            ),
            ("gelu", &[n, c]) => Self::one(
                random(&mut rng, (n, c))?,
                |x| ops::gelu(&x[0], Gelu::Exact),
                |x| ops::gelu::reference(&x[0], Gelu::Exact),
            ),
            ("gelu_tanh", &[n, c]) => Self::one(
                random(&mut rng, (n, c))?,
                |x| ops::gelu(&x[0], Gelu::Tanh),
                |x| ops::gelu::reference(&x[0], Gelu::Tanh),
            ),
            ("silu_mul", &[n, c]) => Self::many(
                vec![random(&mut rng, (n, c))?, random(&mut rng, (n, c))?],
                |x| ops::silu_mul(&x[0], &x[1]),
                |x| ops::silu_mul::reference(&x[0], &x[1]),
            ),
            ("rope", &[b, t, h, d]) => {
                let x = random(&mut rng, (b, t, h, d))?;
                let (cos, sin) = (random(&mut rng, (t, d / 2))?, random(&mut rng, (t, d / 2))?);
                let (cos, sin) = (cos.as_detached_tensor(), sin.as_detached_tensor());
                let tables = (cos.clone(), sin.clone());
                Self::one(
                    x,
                    move |x| ops::rope(&x[0], &cos, &sin, Positions::StartAt(0)),
                    move |x| {
                        ops::rope::reference(&x[0], &tables.0, &tables.1, Positions::StartAt(0))
                    },
                )
            }
            ("linear", &[n, n_in, n_out]) => Self::many(
                vec![
                    random(&mut rng, (n, n_in))?,
                    random(&mut rng, (n_out, n_in))?,
                    random(&mut rng, n_out)?,
                ],
                |x| ops::linear(&x[0], &x[1], Some(&x[2])),
                |x| ops::linear::reference(&x[0], &x[1], Some(&x[2])),
            ),
            ("embedding", &[n, v, c]) => {
                let weight = random(&mut rng, (v, c))?;
                let ids = Tensor::from_iter((0..n).map(|_| rng.below(v) as u32), &Device::Cpu)?;
                let same = ids.clone();
                Self::one(
                    weight,
                    move |x| ops::embedding(&x[0], &ids),
                    move |x| ops::embedding::reference(&x[0], &same),
                )
            }
            ("cross_entropy", &[n, v]) => {
                let logits = random(&mut rng, (n, v))?;
                let targets = (0..n).map(|_| rng.below(v) as i64);
                let targets = Tensor::from_iter(targets, &Device::Cpu)?;
                let same = targets.clone();
                Self::one(
                    logits,
                    move |x| ops::cross_entropy(&x[0], &targets),
                    move |x| ops::cross_entropy::reference(&x[0], &same),
                )
            }
            _ => return Ok(None),
        }))
    }

    /// Causal attention; the shape is in PyTorch's order, (B, H, T, D), the numbers lie in ours, (B, T, H, D).
    pub fn attention([b, h, t, d]: [usize; 4]) -> Result<Self> {
        let mut rng = Rng::new(1);
        let inputs = (0..3).map(|_| random(&mut rng, (b, t, h, d))).collect::<Result<_>>()?;
        Ok(Self::many(
            inputs,
            |x| ops::attention(&x[0], &x[1], &x[2], &AttentionMask::causal()),
            |x| ops::attention::reference(&x[0], &x[1], &x[2], &AttentionMask::causal()),
        ))
    }

    fn one(
        input: Var,
        fused: impl Fn(&[Tensor]) -> Result<Tensor> + 'static,
        reference: impl Fn(&[Tensor]) -> Result<Tensor> + 'static,
    ) -> Self {
        Self::many(vec![input], fused, reference)
    }

    fn many(
        inputs: Vec<Var>,
        fused: impl Fn(&[Tensor]) -> Result<Tensor> + 'static,
        reference: impl Fn(&[Tensor]) -> Result<Tensor> + 'static,
    ) -> Self {
        Self { inputs, fused: Box::new(fused), reference: Box::new(reference) }
    }

    fn run(&self, twin: Twin, inputs: &[Tensor]) -> Result<Tensor> {
        match twin {
            Twin::Fused => (self.fused)(inputs),
            Twin::Reference => (self.reference)(inputs),
        }
    }

    /// The forward pass alone, without a graph.
    pub fn forward(&self, twin: Twin) -> Result<Tensor> {
        let inputs: Vec<Tensor> = self.inputs.iter().map(Var::as_detached_tensor).collect();
        self.run(twin, &inputs)
    }

    /// The forward pass, and the backward pass from a gradient of ones.
    pub fn forward_backward(&self, twin: Twin) -> Result<()> {
        let inputs: Vec<Tensor> = self.inputs.iter().map(|x| x.as_tensor().clone()).collect();
        backward(&self.run(twin, &inputs)?).map(|_| ())
    }
}

fn random(rng: &mut Rng, shape: impl Into<Shape>) -> Result<Var> {
    Var::from_tensor(&rng.normal_tensor(shape, 1., DType::F32, &Device::Cpu)?)
}
