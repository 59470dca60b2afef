//! Overhead of mixture of experts: a training step of part 5's model compared with that of a dense
//! model with the same FLOPs per token. The two alternate, so that other load on the machine
//! affects both. Prints the median time of each and the median ratio.
//!
//!     cargo bench -p benches --bench moe_step

use std::time::Instant;

use candle_core::{DType, Device, Module, Result, Tensor};
use model_io::ModelConfig;
use modern::GptModern;
use moe::training::total_loss;
use moe::{GptMoe, LoadBalancing, MoeConfig, RouterConfig};
use tensor_core::allocator::keep_freed_memory;
use tensor_core::ops::cross_entropy;
use tensor_core::{AdamW, AdamWConfig, Parameters, Rng, backward, clip_grad_norm};

#[global_allocator]
static ALLOCATOR: tensor_core::allocator::MiMalloc = tensor_core::allocator::MiMalloc;

const BALANCING: LoadBalancing =
    LoadBalancing { aux_loss_coef: 0.01, z_loss_coef: 0.001, bias_update_rate: 0. };

/// Layers, width C, T, B and number of timed steps; the sizes are those of
/// `benches/src/train_step.rs`.
const SIZES: [[usize; 5]; 2] = [[2, 128, 128, 16, 60], [6, 384, 256, 8, 8]];

fn main() -> Result<()> {
    keep_freed_memory();
    let quick = std::env::args().any(|arg| arg == "--test");
    for [n_layer, c, t, b, steps] in SIZES {
        let dense_config = ModelConfig::byte_level(t, n_layer, c / 64, c);
        let moe_config = MoeConfig::with_flops_of(&dense_config, RouterConfig::new(4, 1))?;
        let mut rng = Rng::new(0);
        let ids: Vec<u32> = (0..b * t).map(|_| rng.below(256) as u32).collect();
        let ids = Tensor::from_vec(ids, (b, t), &Device::Cpu)?;
        let targets = ids.to_dtype(DType::I64)?;

        let mut parameters = Parameters::seeded(0, DType::F32, &Device::Cpu);
        let model = GptModern::new(&dense_config, parameters.root())?;
        let mut dense_step =
            Stepper::new(parameters, || cross_entropy(&model.forward(&ids)?, &targets))?;
        let mut parameters = Parameters::seeded(0, DType::F32, &Device::Cpu);
        let model = GptMoe::new(&moe_config, parameters.root())?;
        let mut moe_step = Stepper::new(parameters, || {
            let (logits, routing) = model.forward_with_routing(&ids)?;
            total_loss(&cross_entropy(&logits, &targets)?, &routing, &BALANCING)
        })?;
        let (mut times, mut ratios) = ([Vec::new(), Vec::new()], Vec::new());
        for _ in 0..if quick { 1 } else { steps } {
            let (dense, moe) = (dense_step.run()?, moe_step.run()?);
            times[0].push(dense);
            times[1].push(moe);
            ratios.push(moe / dense);
        }
        let [dense, moe] = times.map(median);
        println!(
            "{n_layer} layers, width {c}, T {t}, batch {b}, 4 experts, top 1: \
             dense {:.1} ms, experts {:.1} ms, ratio {:.3}",
            1e3 * dense,
            1e3 * moe,
            median(ratios)
        );
    }
    Ok(())
}

/// A model's parameters with their optimizer and loss.
struct Stepper<F> {
    parameters: Parameters,
    optimizer: AdamW,
    loss: F,
}

impl<F: FnMut() -> Result<Tensor>> Stepper<F> {
    /// Creates the optimizer and runs two untimed steps.
    fn new(parameters: Parameters, loss: F) -> Result<Self> {
        let optimizer = AdamW::new(&parameters, AdamWConfig::default())?;
        let mut stepper = Self { parameters, optimizer, loss };
        stepper.run()?;
        stepper.run()?;
        Ok(stepper)
    }

    /// Runs one step and returns its duration in seconds.
    fn run(&mut self) -> Result<f64> {
        let start = Instant::now();
        let loss = (self.loss)()?;
        let mut grads = backward(&loss)?;
        clip_grad_norm(&mut grads, &self.parameters, 1.)?;
        self.optimizer.step(&grads, 1e-4)?;
        Ok(start.elapsed().as_secs_f64())
    }
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}
