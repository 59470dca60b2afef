//! Moments of AdamW for one parameter: tensors of full precision, or blocks of 8-bit codes with a
//! quarter of the memory.

use candle_core::{DType, Device, Result, Tensor, bail};
use serde::{Deserialize, Serialize};

use crate::Parameter;
use crate::dynamic_quantization::{BLOCK, SIGNED, UNSIGNED};
use crate::kernels::{GRAIN, for_each_pair_of_parts, values, vectorized, write};
use crate::optimizer_state::FIRST;

/// Number format of the moments.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MomentFormat {
    /// f32, or f64 for f64 parameters.
    #[default]
    Full,
    /// 8 bits, quantized blockwise, for f32 parameters of 4,096 numbers or more on the CPU.
    Blockwise8Bit,
}

/// Smallest parameter whose moments are quantized, as in bitsandbytes: norms and biases are a small
/// share of the memory, and their steps matter most.
const MIN_8BIT_SIZE: usize = 4096;

/// Moments m and v.
pub(crate) enum Moments {
    Full { first: Tensor, second: Tensor },
    Blockwise(Vec<MomentBlock>),
}

/// Moments of 256 neighboring weights; those beyond the last weight are 0.
#[derive(Clone)]
pub(crate) struct MomentBlock {
    first: [u8; BLOCK],
    second: [u8; BLOCK],
    first_absmax: f32,
    second_absmax: f32,
}

/// Constants of the update formula at one step.
pub(crate) struct Step {
    pub(crate) beta1: f64,
    pub(crate) beta2: f64,
    pub(crate) bias_correction1: f64,
    pub(crate) bias_correction2: f64,
    pub(crate) eps: f64,
    pub(crate) decay: f64,
    pub(crate) lr: f64,
}

impl Moments {
    /// Moments 0 of `parameter`.
    ///
    /// # Errors
    /// When 8-bit moments are requested of a parameter that is not on the CPU, or memory is short.
    pub(crate) fn new(parameter: &Parameter, format: MomentFormat) -> Result<Self> {
        let (var, n) = (&parameter.var, parameter.var.elem_count());
        if format == MomentFormat::Blockwise8Bit && n >= MIN_8BIT_SIZE {
            if !var.device().is_cpu() || var.dtype() != DType::F32 {
                bail!(
                    "8-bit moments are for f32 weights on the CPU, and `{}` is {:?} on {:?}",
                    parameter.name,
                    var.dtype(),
                    var.device().location()
                );
            }
            return Ok(Self::Blockwise(vec![MomentBlock::zero(); n.div_ceil(BLOCK)]));
        }
        let dtype = if var.dtype() == DType::F64 { DType::F64 } else { DType::F32 };
        let zeros = || Tensor::zeros(var.shape(), dtype, var.device());
        Ok(Self::Full { first: zeros()?, second: zeros()? })
    }

    /// Tensors of m and v for a file, by the end of their names; in the same memory if they are
    /// not quantized.
    pub(crate) fn state(&self) -> Result<Vec<(&'static str, Tensor)>> {
        Ok(match self {
            Self::Full { first, second } => {
                vec![(FIRST, first.clone()), ("second", second.clone())]
            }
            Self::Blockwise(blocks) => {
                let n = blocks.len();
                let codes = |of: fn(&MomentBlock) -> &[u8; BLOCK]| {
                    let codes: Vec<u8> = blocks.iter().flat_map(|block| *of(block)).collect();
                    Tensor::from_vec(codes, (n, BLOCK), &Device::Cpu)
                };
                let absmax = |of: fn(&MomentBlock) -> f32| {
                    Tensor::from_iter(blocks.iter().map(of), &Device::Cpu)
                };
                vec![
                    (FIRST, codes(|block| &block.first)?),
                    ("first_absmax", absmax(|block| block.first_absmax)?),
                    ("second", codes(|block| &block.second)?),
                    ("second_absmax", absmax(|block| block.second_absmax)?),
                ]
            }
        })
    }

    /// Moments like these of the tensors that `take` finds by name, shape and dtype.
    pub(crate) fn restored(
        &self,
        mut take: impl FnMut(&str, &[usize], DType) -> Result<Tensor>,
    ) -> Result<Self> {
        match self {
            Self::Full { first, second } => {
                let mut like = |name: &str, like: &Tensor| {
                    take(name, like.dims(), like.dtype())?.to_device(like.device())?.copy()
                };
                Ok(Self::Full { first: like(FIRST, first)?, second: like("second", second)? })
            }
            Self::Blockwise(blocks) => {
                let n = blocks.len();
                let mut codes = |name: &str| take(name, &[n, BLOCK], DType::U8)?.to_vec2::<u8>();
                let (first, second) = (codes(FIRST)?, codes("second")?);
                let mut absmax = |name: &str| take(name, &[n], DType::F32)?.to_vec1::<f32>();
                let maxima = absmax("first_absmax")?.into_iter().zip(absmax("second_absmax")?);
                let blocks = first.iter().zip(&second).zip(maxima);
                let blocks = blocks.map(|((first, second), (first_absmax, second_absmax))| {
                    let mut block =
                        MomentBlock { first_absmax, second_absmax, ..MomentBlock::zero() };
                    block.first.copy_from_slice(first);
                    block.second.copy_from_slice(second);
                    block
                });
                Ok(Self::Blockwise(blocks.collect()))
            }
        }
    }
}

impl MomentBlock {
    fn zero() -> Self {
        let mut codes = [[0; BLOCK]; 2];
        let [first, second] = &mut codes;
        SIGNED.quantize(&[0.; BLOCK], first);
        UNSIGNED.quantize(&[0.; BLOCK], second);
        let [first, second] = codes;
        Self { first, second, first_absmax: 0., second_absmax: 0. }
    }

    /// Updates the moments by `grads`, and `weights` by the moments, which are quantized after.
    #[inline(always)]
    fn update(&mut self, weights: &mut [f32], grads: &[f32], step: &StepF32) {
        let (mut first, mut second) = ([0f32; BLOCK], [0f32; BLOCK]);
        let n = weights.len();
        let (first, second, grads) = (&mut first[..n], &mut second[..n], &grads[..n]);
        SIGNED.dequantize(&self.first, self.first_absmax, first);
        UNSIGNED.dequantize(&self.second, self.second_absmax, second);
        for i in 0..n {
            let g = grads[i];
            first[i] = step.beta1 * first[i] + step.one_minus_beta1 * g;
            second[i] = step.beta2 * second[i] + step.one_minus_beta2 * g * g;
            let root = (second[i] * step.bias_correction2).sqrt();
            let update = first[i] * step.bias_correction1 / (root + step.eps);
            weights[i] = weights[i] * step.decay - step.lr * update;
        }
        self.first_absmax = SIGNED.quantize(first, &mut self.first);
        self.second_absmax = UNSIGNED.quantize(second, &mut self.second);
    }
}

/// [`Step`] in f32.
struct StepF32 {
    beta1: f32,
    beta2: f32,
    one_minus_beta1: f32,
    one_minus_beta2: f32,
    bias_correction1: f32,
    bias_correction2: f32,
    eps: f32,
    decay: f32,
    lr: f32,
}

/// Update of one parameter with 8-bit moments: each block is dequantized, updated and quantized
/// while it is in the cache.
pub(crate) fn update_blockwise(
    weights: &Tensor,
    blocks: &mut [MomentBlock],
    grad: &Tensor,
    step: &Step,
) -> Result<()> {
    let grad = grad.to_dtype(DType::F32)?.contiguous()?;
    let grads = values::<f32>(&grad)?;
    let step = StepF32 {
        beta1: step.beta1 as f32,
        beta2: step.beta2 as f32,
        one_minus_beta1: (1. - step.beta1) as f32,
        one_minus_beta2: (1. - step.beta2) as f32,
        bias_correction1: step.bias_correction1 as f32,
        bias_correction2: step.bias_correction2 as f32,
        eps: step.eps as f32,
        decay: step.decay as f32,
        lr: step.lr as f32,
    };
    write(weights, |weights: &mut [f32]| {
        for_each_pair_of_parts(
            (weights, GRAIN),
            (blocks, GRAIN / BLOCK),
            |part, weights, blocks| {
                let grads = &grads[part * GRAIN..];
                vectorized!({
                    let weights = weights.chunks_mut(BLOCK).zip(grads.chunks(BLOCK));
                    for (block, (weights, grads)) in blocks.iter_mut().zip(weights) {
                        block.update(weights, grads, &step);
                    }
                });
            },
        );
    })
}
