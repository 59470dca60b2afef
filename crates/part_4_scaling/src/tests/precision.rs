//! 4.2: micro-batches add up to the whole batch, and an overflow does not change the weights.

use anyhow::Result;
use candle_core::backprop::GradStore;
use candle_core::{DType, Device, Tensor};
use model_io::ModelConfig;
use modern::GptModern;
use ranks::{BatchGradients, Ranks};
use tensor_core::ops::IGNORE_INDEX;
use tensor_core::testing::assert_close;
use tensor_core::{Parameters, clip_grad_norm};
use tiny_gpt::Batch;

use crate::accumulation::gradients;
use crate::grad_scaler::GradScaler;

const CPU: Device = Device::Cpu;

/// Eight texts with 1, 3, 5, .. 15 targets, as micro-batches of `rows` rows each.
pub(super) fn batches(rows: usize) -> Result<Vec<Batch>> {
    let (b, t) = (8, 16);
    let inputs: Vec<u32> = (0..b * t).map(|i| (i * 37 % 251) as u32).collect();
    let targets: Vec<i64> = (0..b * t)
        .map(|i| if i % t < 2 * (i / t) + 1 { (i * 53 % 256) as i64 } else { IGNORE_INDEX })
        .collect();
    let inputs = Tensor::from_vec(inputs, (b, t), &CPU)?;
    let targets = Tensor::from_vec(targets, (b, t), &CPU)?;
    let micro_batch = |start| {
        let (inputs, targets) = (inputs.narrow(0, start, rows)?, targets.narrow(0, start, rows)?);
        Ok(Batch { inputs, targets })
    };
    (0..b).step_by(rows).map(micro_batch).collect()
}

struct Setup {
    parameters: Parameters,
    config: ModelConfig,
}

fn setup() -> Result<Setup> {
    let config = ModelConfig::byte_level(16, 2, 2, 16);
    let mut parameters = Parameters::seeded(0, DType::F32, &CPU);
    GptModern::new(&config, parameters.root())?;
    Ok(Setup { parameters, config })
}

impl Setup {
    fn gradients(&self, dtype: DType, batches: &[Batch], scale: f64) -> Result<(f64, GradStore)> {
        let model = GptModern::new(&self.config, self.parameters.with_compute_dtype(dtype).root())?;
        let of_rank = gradients(&model, &self.parameters, batches, scale)?;
        let BatchGradients { loss, grads, .. } =
            of_rank.average(&Ranks::Alone, &[&self.parameters])?;
        Ok((loss, grads))
    }

    fn assert_equal_grads(&self, a: &GradStore, b: &GradStore, tol: f64) -> Result<()> {
        for parameter in self.parameters.iter() {
            let variable = parameter.var.as_tensor();
            let [a, b] = [a, b].map(|grads| grads.get(variable).expect("a gradient"));
            assert_close(a, b, tol);
        }
        Ok(())
    }
}

#[test]
fn accumulated_gradients_equal_those_of_the_whole_batch() -> Result<()> {
    let setup = setup()?;
    let (loss, whole) = setup.gradients(DType::F32, &batches(8)?, 1.)?;
    for rows in [1, 2, 4] {
        let (accumulated_loss, accumulated) = setup.gradients(DType::F32, &batches(rows)?, 1.)?;
        assert_close(loss, accumulated_loss, 1e-6);
        setup.assert_equal_grads(&accumulated, &whole, 1e-6)?;
    }
    Ok(())
}

#[test]
fn a_micro_batch_without_targets_adds_nothing_and_alone_is_refused() -> Result<()> {
    let setup = setup()?;
    let mut micro_batches = batches(4)?;
    let (_, expected) = setup.gradients(DType::F32, &micro_batches, 1.)?;
    let targets = Tensor::full(IGNORE_INDEX, (4, 16), &CPU)?;
    let empty = Batch { inputs: micro_batches[0].inputs.clone(), targets };
    micro_batches.push(empty.clone());
    let (_, actual) = setup.gradients(DType::F32, &micro_batches, 1.)?;
    setup.assert_equal_grads(&actual, &expected, 1e-7)?;
    let error = setup.gradients(DType::F32, &[empty], 1.).expect_err("refused").to_string();
    assert!(error.contains("no targets"), "{error}");
    Ok(())
}

/// Scaler with S = 1024.
fn grad_scaler() -> Result<GradScaler> {
    Ok(serde_json::from_str(r#"{ "scale": 1024.0, "good_steps": 0 }"#)?)
}

#[test]
fn unscaled_gradients_equal_those_of_the_plain_loss() -> Result<()> {
    let setup = setup()?;
    for (dtype, tolerance) in [(DType::F32, 1e-6), (DType::F16, 2e-3), (DType::BF16, 2e-2)] {
        let (_, plain) = setup.gradients(DType::F32, &batches(8)?, 1.)?;
        let (loss, mut scaled) = setup.gradients(dtype, &batches(4)?, 1024.)?;
        assert!((4.5..6.5).contains(&loss), "the returned loss is not scaled: {loss}");
        let norm = clip_grad_norm(&mut scaled, &setup.parameters, f64::MAX)?;
        grad_scaler()?.unscale(&mut scaled, &setup.parameters)?;
        let unscaled = clip_grad_norm(&mut scaled, &setup.parameters, f64::MAX)?;
        assert_close(norm / unscaled, 1024., 1e-3);
        setup.assert_equal_grads(&scaled, &plain, tolerance)?;
    }
    Ok(())
}

#[test]
fn the_loss_scale_halves_at_overflow_and_doubles_after_2000_steps() -> Result<()> {
    let mut scaler = GradScaler::default();
    assert!(!scaler.update(f64::INFINITY)? && !scaler.update(f64::NAN)?);
    assert_eq!(scaler.scale(), 16_384.);
    for _ in 0..1999 {
        assert!(scaler.update(3.)?);
    }
    let saved = serde_json::to_string(&scaler)?;
    let mut scaler: GradScaler = serde_json::from_str(&saved)?;
    assert_eq!(scaler.scale(), 16_384.);
    assert!(scaler.update(3.)?);
    assert_eq!(scaler.scale(), 32_768.);
    let mut n_halvings = 0;
    let error = loop {
        match scaler.update(f64::NAN) {
            Ok(_) => n_halvings += 1,
            Err(error) => break error.to_string(),
        }
    };
    assert_eq!((n_halvings, error.contains("--dtype bf16")), (15, true), "{error}");
    Ok(())
}

#[test]
fn an_f16_overflow_gives_a_non_finite_norm_and_skips_the_step() -> Result<()> {
    let setup = setup()?;
    let (_, mut grads) = setup.gradients(DType::F16, &batches(8)?, 1e12)?;
    let mut scaler = GradScaler::default();
    scaler.unscale(&mut grads, &setup.parameters)?;
    let norm = clip_grad_norm(&mut grads, &setup.parameters, 1.)?;
    assert!(!norm.is_finite(), "{norm}");
    assert!(!scaler.update(norm)?);
    Ok(())
}
