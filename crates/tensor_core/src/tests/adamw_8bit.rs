//! AdamW with moments in 8 bits: bitsandbytes' maps and the nearest codes
//! (`golden_adamw_8bit.json`, made by `scripts/golden_adamw_8bit.py`), training, the state.

use std::collections::BTreeMap;

use anyhow::Result;
use candle_core::{DType, Device, Tensor};
use serde_json::Value;

use crate::dynamic_quantization::{BLOCK, SIGNED, UNSIGNED};
use crate::testing::assert_close;
use crate::{AdamW, AdamWConfig, Init, MomentFormat, Parameters, Rng, WeightDecay, backward, ops};

const CPU: Device = Device::Cpu;

fn numbers(value: &Value) -> Vec<f32> {
    let all = value.as_array().expect("a list").iter();
    all.map(|number| number.as_f64().expect("a number") as f32).collect()
}

#[test]
fn codes_and_their_error_are_those_of_bitsandbytes() -> Result<()> {
    let golden: Value = serde_json::from_str(include_str!("golden_adamw_8bit.json"))?;
    for (name, map) in [("signed", &*SIGNED), ("unsigned", &*UNSIGNED)] {
        let golden = &golden[name];
        let mut values = [0.; 256];
        let all_codes: Vec<u8> = (0..=255).collect();
        map.dequantize(&all_codes, 1., &mut values);
        assert_close(&values[..], &numbers(&golden["map"])[..], 1e-7);
        let (moments, expected) = (numbers(&golden["numbers"]), numbers(&golden["codes"]));
        let (mut codes, mut errors) = (vec![0; moments.len()], Vec::new());
        for (block, absmax) in numbers(&golden["absmax"]).into_iter().enumerate() {
            let range = block * BLOCK..moments.len().min((block + 1) * BLOCK);
            let (moments, codes) = (&moments[range.clone()], &mut codes[range]);
            assert_eq!(map.quantize(moments, codes), absmax);
            let mut restored = vec![0.; moments.len()];
            map.dequantize(codes, absmax, &mut restored);
            let pairs = restored.iter().zip(moments);
            errors.extend(pairs.map(|(a, b)| f64::from((a - b).abs() / b.abs())));
        }
        let is_small = |code: f32| name == "unsigned" && code == 0.;
        for (code, expected) in codes.iter().zip(expected) {
            // A positive second moment is not 0.
            let expected = if is_small(expected) { 1. } else { expected };
            assert_eq!(f32::from(*code), expected, "{name}");
        }
        errors.sort_by(f64::total_cmp);
        let median = golden["median_error"].as_f64().expect("a number");
        if name == "signed" {
            assert_close(
                (errors[errors.len() / 2 - 1] + errors[errors.len() / 2]) / 2.,
                median,
                0.02,
            );
        }
    }
    Ok(())
}

#[test]
fn every_number_gets_the_nearest_code() {
    let mut rng = Rng::new(3);
    for map in [&*SIGNED, &*UNSIGNED] {
        let (mut values, all_codes) = ([0.; 256], (0..=255).collect::<Vec<u8>>());
        map.dequantize(&all_codes, 1., &mut values);
        for _ in 0..2000 {
            let magnitude = 10f64.powf(-8. * rng.uniform());
            let x =
                if values[0] < 0. && rng.uniform() < 0.5 { -magnitude } else { magnitude } as f32;
            let mut codes = [0; 2];
            assert_eq!(map.quantize(&[1., x], &mut codes), 1.);
            let nearest = values.iter().map(|value| (value - x).abs()).fold(1., f32::min);
            let distance = (values[usize::from(codes[1])] - x).abs();
            let is_smallest = values[0] == 0. && codes[1] == 1;
            assert!(distance <= nearest * 1.0001 || is_smallest, "{x}: {codes:?}");
        }
    }
    let mut codes = [9; 3];
    assert_eq!(SIGNED.quantize(&[0.; 3], &mut codes), 0.);
    let mut zeros = [1.; 3];
    SIGNED.dequantize(&codes, 0., &mut zeros);
    assert_eq!(zeros, [0.; 3], "a block of zeros");
}

/// Least squares of a matrix of 8,320 weights (32 blocks and a half) and a bias of 65.
struct Task {
    parameters: Parameters,
    optimizer: AdamW,
    x: Tensor,
    y: Tensor,
}

impl Task {
    fn new(moments: MomentFormat) -> Result<Self> {
        let mut parameters = Parameters::seeded(1, DType::F32, &CPU);
        let init = Init::Normal { std: 0.02 };
        parameters.root().parameter("weight", (65, 128), init, WeightDecay::Yes)?;
        parameters.root().parameter("bias", 65, Init::Zeros, WeightDecay::No)?;
        let config = AdamWConfig { moments, weight_decay: 0., ..AdamWConfig::default() };
        let optimizer = AdamW::new(&parameters, config)?;
        let mut rng = Rng::new(2);
        let x = rng.normal_tensor((256, 128), 1., DType::F32, &CPU)?;
        let weight = rng.normal_tensor((65, 128), 0.1, DType::F32, &CPU)?;
        let noise = rng.normal_tensor((256, 65), 0.1, DType::F32, &CPU)?;
        let y = (x.matmul(&weight.t()?)? + noise)?;
        Ok(Self { parameters, optimizer, x, y })
    }

    /// Losses before each of `n` steps.
    fn train(&mut self, n: usize) -> Result<Vec<f32>> {
        let var = |name: &str| self.parameters.get(name).expect(name).var.clone();
        let (weight, bias) = (var("weight"), var("bias"));
        let steps = (0..n).map(|_| {
            let y = ops::linear(&self.x, weight.as_tensor(), Some(bias.as_tensor()))?;
            let loss = (y - &self.y)?.sqr()?.mean_all()?;
            self.optimizer.step(&backward(&loss)?, 3e-3)?;
            Ok(loss.to_scalar()?)
        });
        steps.collect()
    }

    fn weights(&self) -> Result<Vec<Vec<f32>>> {
        self.parameters.iter().map(|p| Ok(p.var.flatten_all()?.to_vec1()?)).collect()
    }
}

#[test]
fn training_reaches_the_loss_of_moments_in_f32() -> Result<()> {
    let losses = |moments| Task::new(moments)?.train(300);
    let (full, quantized) = (losses(MomentFormat::Full)?, losses(MomentFormat::Blockwise8Bit)?);
    let (first, last) = (full[0], full[299]);
    assert!(last < 0.01 * first, "{first} {last}");
    assert!((quantized[299] / last - 1.).abs() < 0.02, "{} {last}", quantized[299]);
    assert_ne!(quantized[299], last);
    Ok(())
}

#[test]
fn eight_bit_moments_are_a_quarter_of_the_state_and_resume_bit_for_bit() -> Result<()> {
    let mut whole = Task::new(MomentFormat::Blockwise8Bit)?;
    whole.train(3)?;
    let state = whole.optimizer.state_dict()?;
    let dtype = |name: &str| state[name].dtype();
    assert_eq!((dtype("weight.first"), dtype("weight.second")), (DType::U8, DType::U8));
    assert_eq!(dtype("bias.first"), DType::F32, "a small tensor");
    let bytes = |name: &str| state[name].elem_count() * state[name].dtype().size_in_bytes();
    let names = ["first", "first_absmax", "second", "second_absmax"];
    let of_weight: usize = names.iter().map(|name| bytes(&format!("weight.{name}"))).sum();
    assert_eq!(of_weight, 33 * 2 * (BLOCK + 4), "33 blocks, the last one half full");

    let folder = tempfile::tempdir()?;
    let file = folder.path().join("optimizer.safetensors");
    crate::weights::save(&file, &state)?;
    let mut resumed = Task::new(MomentFormat::Blockwise8Bit)?;
    for (from, to) in whole.parameters.iter().zip(resumed.parameters.iter()) {
        to.var.set(&from.var.as_detached_tensor().copy()?)?;
    }
    resumed.optimizer.load_state_dict(crate::weights::load(&file)?)?;
    whole.train(2)?;
    resumed.train(2)?;
    assert!(whole.weights()? == resumed.weights()?);

    let refused = |moments, state: BTreeMap<String, Tensor>| -> Result<String> {
        let error = Task::new(moments)?.optimizer.load_state_dict(state).expect_err("refused");
        Ok(error.to_string())
    };
    let full = Task::new(MomentFormat::Full)?.optimizer.state_dict()?;
    for error in [refused(MomentFormat::Full, state)?, refused(MomentFormat::Blockwise8Bit, full)?]
    {
        assert!(error.contains("`weight.first` is") && error.contains("--optim"), "{error}");
    }
    Ok(())
}

/// The moments are quantized after the weights have taken the step.
#[test]
fn the_first_step_is_that_of_moments_in_f32_also_with_weight_decay() -> Result<()> {
    let first_step = |moments, decay| -> Result<Tensor> {
        let mut parameters = Parameters::seeded(1, DType::F32, &CPU);
        parameters.root().parameter("w", 5000, Init::Normal { std: 1. }, decay)?;
        let config = AdamWConfig { moments, ..AdamWConfig::default() };
        let mut optimizer = AdamW::new(&parameters, config)?;
        let var = parameters.get("w").expect("w").var.clone();
        optimizer.step(&backward(&var.sqr()?.sum_all()?)?, 0.1)?;
        Ok(var.as_detached_tensor())
    };
    for decay in [WeightDecay::Yes, WeightDecay::No] {
        let full = first_step(MomentFormat::Full, decay)?;
        assert_close(&first_step(MomentFormat::Blockwise8Bit, decay)?, &full, 1e-6);
    }
    let difference = first_step(MomentFormat::Full, WeightDecay::Yes)?
        - first_step(MomentFormat::Full, WeightDecay::No)?;
    assert!(difference?.abs()?.max_all()?.to_scalar::<f32>()? > 0.01, "the decay is visible");
    Ok(())
}

/// A weight whose gradients were small beside those of its block, and then 0, takes no large step:
/// its second moment is rounded up, not to 0.
#[test]
fn a_small_second_moment_is_not_rounded_to_zero() -> Result<()> {
    let steps = |moments| -> Result<f32> {
        let mut parameters = Parameters::seeded(1, DType::F32, &CPU);
        parameters.root().parameter("w", 4096, Init::Zeros, WeightDecay::No)?;
        let mut optimizer =
            AdamW::new(&parameters, AdamWConfig { moments, ..AdamWConfig::default() })?;
        let var = parameters.get("w").expect("w").var.clone();
        for first in [1e-4f32, 0.] {
            let mut gradient = vec![1f32; 4096];
            gradient[0] = first;
            let loss = (var.as_tensor() * Tensor::new(gradient, &CPU)?)?.sum_all()?;
            optimizer.step(&backward(&loss)?, 1e-3)?;
        }
        Ok(var.to_vec1::<f32>()?[0].abs())
    };
    let (full, quantized) = (steps(MomentFormat::Full)?, steps(MomentFormat::Blockwise8Bit)?);
    assert!(quantized < 2. * full, "{quantized} {full}");
    Ok(())
}
