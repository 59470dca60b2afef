//! Gradient checkpointing: gradients are equal, bit for bit, to those without it.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use candle_core::{DType, Device, Module, Result, Tensor, Var};

use crate::ops::{Gelu, gelu, softmax};
use crate::testing::assert_grad;
use crate::{Bias, Dropout, Init, Linear, Parameters, Rng, backward, gradient_checkpoint};

const CPU: Device = Device::Cpu;

/// Two layers with dropout between them.
#[derive(Clone)]
struct Layers([Linear; 2], Dropout);

impl Layers {
    fn new(parameters: &mut Parameters) -> Result<Self> {
        let init = Init::Normal { std: 1. };
        let mut root = parameters.root();
        let first = Linear::new(root.at("first"), 3, 8, Bias::Yes, init)?;
        let second = Linear::new(root.at("second"), 8, 3, Bias::No, init)?;
        Ok(Self([first, second], root.dropout(0.5)))
    }

    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let Self([first, second], dropout) = self;
        second.forward(&dropout.forward(&gelu(&first.forward(x)?, Gelu::Tanh)?)?)
    }
}

fn x() -> Result<Tensor> {
    Rng::new(1).normal_tensor((4, 3), 1., DType::F32, &CPU)
}

/// Gradients of all parameters and of x, with both layers applied `times` times, and the next
/// dropout masks, before the backward pass and after it.
fn gradients(checkpoint: bool, times: usize, dtype: DType) -> Result<Vec<Vec<f32>>> {
    let mut parameters = Parameters::seeded(0, DType::F32, &CPU);
    Layers::new(&mut parameters)?;
    let mut parameters = parameters.with_compute_dtype(dtype);
    let (layers, dtype) = (Layers::new(&mut parameters)?, parameters.dtype());
    let x = Var::from_tensor(&x()?)?;
    let mut y = x.to_dtype(dtype)?;
    for _ in 0..times {
        y = match checkpoint {
            false => layers.forward(&y)?,
            true => {
                let run = layers.clone();
                gradient_checkpoint(&y, &layers.1, move |y| run.forward(y))?
            }
        };
    }
    let next_mask = layers.1.forward(&Tensor::ones(64, dtype, &CPU)?)?;
    let grads = backward(&y.sqr()?.sum_all()?.to_dtype(DType::F32)?)?;
    let variables = parameters.iter().map(|p| p.var.as_tensor()).chain([x.as_tensor()]);
    let mut all: Vec<Vec<f32>> = variables
        .map(|v| grads.get(v).expect("a gradient").flatten_all()?.to_vec1())
        .collect::<Result<_>>()?;
    let mask_after = layers.1.forward(&Tensor::ones(64, dtype, &CPU)?)?;
    for mask in [next_mask, mask_after] {
        all.push(mask.to_dtype(DType::F32)?.to_vec1()?);
    }
    Ok(all)
}

#[test]
fn checkpointed_gradients_and_dropout_masks_match_bit_for_bit() -> Result<()> {
    // Applied once in 16 bits, as the gradients of two checkpointed uses are added in f32.
    for (times, dtype) in [(2, DType::F32), (2, DType::BF16), (1, DType::F16)] {
        let plain = gradients(false, times, dtype)?;
        let checkpointed = gradients(true, times, dtype)?;
        assert_eq!(plain, checkpointed, "{dtype:?}");
        assert!(plain.iter().all(|grads| grads.iter().any(|&g| g != 0.)));
    }
    Ok(())
}

#[test]
fn nested_checkpoints_give_correct_gradients() -> Result<()> {
    let no_dropout = Dropout::disabled();
    let f = move |x: &Tensor| {
        let inner = no_dropout.clone();
        gradient_checkpoint(x, &no_dropout, move |x| {
            softmax(&gradient_checkpoint(&x.sqr()?, &inner, |y| gelu(y, Gelu::Exact))?)
        })
    };
    assert_grad(&Rng::new(0).normal_tensor((2, 3), 1., DType::F64, &CPU)?, f, 1e-7)
}

#[test]
fn checkpointing_runs_the_function_once_per_pass() -> Result<()> {
    let runs = Arc::new(AtomicUsize::new(0));
    let count = || runs.load(Ordering::Relaxed);
    let f = {
        let runs = runs.clone();
        move |x: &Tensor| {
            runs.fetch_add(1, Ordering::Relaxed);
            gelu(x, Gelu::Exact)
        }
    };
    assert!(
        !gradient_checkpoint(&x()?, &Dropout::disabled(), f.clone())?.track_op(),
        "no graph without a variable"
    );
    assert_eq!(count(), 1);
    let x = Var::from_tensor(&x()?)?;
    let y = gradient_checkpoint(&x, &Dropout::disabled(), f)?;
    assert_eq!(count(), 2);
    backward(&y)?;
    assert_eq!(count(), 3);
    Ok(())
}
