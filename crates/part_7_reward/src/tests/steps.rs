//! Training steps: order of the pairs, gradient clipping, learning-rate schedule.

use anyhow::Result;
use experiment::Run;
use ranks::Ranks;
use scaling::LrSchedule;
use scaling::schedule::DecayShape;
use sft::{BatchSampler, Curriculum};
use tensor_core::{AdamWConfig, Optimizer, OptimizerConfig};

use super::CPU;
use super::training::backbone;
use super::training::{pairs, train_config, train_in, train_state, validator, weights};
use crate::step::reward_step;
use crate::training::micro_batches;
use crate::{PairBatch, RewardModel};
use crate::{RewardArchitecture, RewardValidator, TrainConfig};
use experiment::RunLog;

#[test]
fn an_epoch_uses_each_pair_once() -> Result<()> {
    let pairs = pairs()?;
    let config = TrainConfig { grad_accum_steps: 3, ..train_config(3) };
    let lengths = pairs.iter().map(|pair| pair.chosen.len()).collect();
    let mut sampler =
        BatchSampler::new(lengths, Curriculum::Shuffled, config.batch_size, config.seed);
    let mut used: Vec<Vec<u32>> = Vec::new();
    for step in 1..=3 {
        for batch in micro_batches(&mut sampler, step, &pairs, &config, &Ranks::Alone, &CPU)? {
            let rows: Vec<Vec<u32>> = batch.ids.to_vec2()?;
            let chosen = rows.iter().zip(&batch.lengths).take(batch.n_pairs());
            used.extend(chosen.map(|(row, &n)| row[..n].to_vec()));
        }
    }
    let mut all: Vec<Vec<u32>> = pairs.into_iter().map(|pair| pair.chosen).collect();
    used.sort();
    all.sort();
    assert_eq!(used, all);
    Ok(())
}

/// Weights after two training steps from the same initial model.
fn weights_after_two_steps(config: &TrainConfig) -> Result<Vec<Vec<f32>>> {
    let mut train_state = train_state(RewardArchitecture::CausalLastToken, false)?;
    train_state.optimizer = Optimizer::new(&train_state.parameters, config.optimizer)?;
    let pairs = pairs()?;
    let validator = RewardValidator { interval: 0, target_accuracy: None, ..validator(&pairs) };
    let (kind, run) = (RewardArchitecture::CausalLastToken, Run::default());
    train_in(&mut train_state, kind, &pairs, config, &validator, &run)?;
    weights(&train_state)
}

/// Largest absolute difference of two models' weights.
fn max_difference(a: &[Vec<f32>], b: &[Vec<f32>]) -> f32 {
    let elements = a.iter().flatten().zip(b.iter().flatten());
    elements.map(|(a, b)| (a - b).abs()).fold(0., f32::max)
}

#[test]
fn steps_clip_gradients_and_follow_the_learning_rate_schedule() -> Result<()> {
    let initial = weights(&train_state(RewardArchitecture::CausalLastToken, false)?)?;
    let optimizer = AdamWConfig { weight_decay: 0., ..AdamWConfig::default() }.into();
    let config = TrainConfig { optimizer, ..train_config(2) };
    let change = max_difference(&weights_after_two_steps(&config)?, &initial);
    assert!(change > 5e-3, "{change}");
    // Gradients far below Adam's ε hardly change the weights.
    let clipped = weights_after_two_steps(&TrainConfig { max_grad_norm: 1e-13, ..config })?;
    assert!(max_difference(&clipped, &initial) < 1e-3 * change);
    let schedule = LrSchedule {
        peak_lr: 1e-2,
        min_lr: 0.,
        warmup_steps: 1,
        total_steps: 2,
        decay: DecayShape::Cosine,
    };
    let cosine =
        max_difference(&weights_after_two_steps(&TrainConfig { schedule, ..config })?, &initial);
    let schedule = LrSchedule { decay: DecayShape::Constant, ..schedule };
    let constant =
        max_difference(&weights_after_two_steps(&TrainConfig { schedule, ..config })?, &initial);
    assert!(cosine < 0.8 * constant, "{cosine} {constant}");
    Ok(())
}

/// The first pair is labeled the other way round, so that its weight shows in the step; with ε = 1,
/// a step is about as long as the gradient.
#[test]
fn a_step_weighs_every_pair_alike_however_the_pairs_are_split() -> Result<()> {
    let architecture = RewardArchitecture::CausalLastToken;
    let mut pairs = pairs()?;
    let first = &mut pairs[0];
    std::mem::swap(&mut first.chosen, &mut first.rejected);
    let optimizer = AdamWConfig { eps: 1., weight_decay: 0., ..AdamWConfig::default() };
    let optimizer = OptimizerConfig::from(optimizer);
    let schedule =
        LrSchedule { peak_lr: 1., min_lr: 1., warmup_steps: 0, ..train_config(2).schedule };
    let config = TrainConfig { optimizer, schedule, ..train_config(2) };
    let after = |sizes: &[usize]| -> Result<Vec<Vec<f32>>> {
        let mut state = train_state(architecture, false)?;
        state.optimizer = Optimizer::new(&state.parameters, optimizer)?;
        let model = RewardModel::new(&backbone()?, architecture, &mut state.parameters)?;
        let (mut rest, mut batches) = (&pairs[..5], Vec::new());
        for &n in sizes {
            let (some, others) = rest.split_at(n);
            batches.push(PairBatch::from_pairs(&some.iter().collect::<Vec<_>>(), &CPU)?);
            rest = others;
        }
        reward_step(&model, &mut state, &batches, &config, &mut RunLog::of_losses(2)?)?;
        weights(&state)
    };
    let (whole, initial) = (after(&[5])?, weights(&train_state(architecture, false)?)?);
    assert!(max_difference(&whole, &initial) > 1e-2);
    for sizes in [&[1, 4][..], &[2, 1, 2]] {
        let difference = max_difference(&after(sizes)?, &whole);
        assert!(difference < 1e-5, "{sizes:?}: {difference}");
    }
    Ok(())
}
