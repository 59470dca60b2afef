//! The steps of a run: each pair in its turn, gradients clipped, the rate followed.

use anyhow::Result;
use scaling::LrSchedule;
use scaling::schedule::DecayShape;
use sft::{BatchSampler, Curriculum, RunOutputs};
use tensor_core::{AdamW, AdamWConfig};

use super::CPU;
use super::training::{bits, exam, log, pairs, train_config, tuning};
use crate::training::micro_batches;
use crate::{RewardArchitecture, RewardValidator, TrainConfig, train};

#[test]
fn the_steps_of_an_epoch_take_each_pair_once() -> Result<()> {
    let pairs = pairs()?;
    let config = TrainConfig { grad_accum_steps: 3, ..train_config(3) };
    let lengths = pairs.iter().map(|pair| pair.chosen.len()).collect();
    let mut order =
        BatchSampler::new(lengths, Curriculum::Shuffled, config.batch_size, config.seed);
    let mut seen: Vec<Vec<u32>> = Vec::new();
    for step in 1..=3 {
        for batch in micro_batches(&mut order, step, (&pairs, &config), &CPU)? {
            let rows: Vec<Vec<u32>> = batch.ids.to_vec2()?;
            let chosen = rows.iter().zip(&batch.lengths).take(batch.n_pairs());
            seen.extend(chosen.map(|(row, &n)| row[..n].to_vec()));
        }
    }
    let mut all: Vec<Vec<u32>> = pairs.into_iter().map(|pair| pair.chosen).collect();
    seen.sort();
    all.sort();
    assert_eq!(seen, all);
    Ok(())
}

/// What two steps make of a fresh model.
fn after_two_steps(config: &TrainConfig) -> Result<Vec<Vec<f32>>> {
    let mut learner = tuning(RewardArchitecture::Causal, false)?;
    learner.optimizer = AdamW::new(&learner.parameters, config.optimizer)?;
    let pairs = pairs()?;
    let exam = RewardValidator { interval: 0, target_accuracy: None, ..exam(&pairs) };
    let learned = (&mut learner, RewardArchitecture::Causal);
    train(learned, &pairs, config, &exam, &RunOutputs::default(), &mut log()?)?;
    bits(&learner)
}

/// The largest difference of two models' weights.
fn apart(a: &[Vec<f32>], b: &[Vec<f32>]) -> f32 {
    let each = a.iter().flatten().zip(b.iter().flatten());
    each.map(|(a, b)| (a - b).abs()).fold(0., f32::max)
}

#[test]
fn steps_clip_gradients_and_follow_the_rate() -> Result<()> {
    let begun = bits(&tuning(RewardArchitecture::Causal, false)?)?;
    let optimizer = AdamWConfig { weight_decay: 0., ..AdamWConfig::default() };
    let config = TrainConfig { optimizer, ..train_config(2) };
    let moved = apart(&after_two_steps(&config)?, &begun);
    assert!(moved > 5e-3, "{moved}");
    let clipped = after_two_steps(&TrainConfig { max_grad_norm: 1e-13, ..config })?;
    assert!(apart(&clipped, &begun) < 1e-3 * moved, "gradients far below Adam's ε move nothing");
    let schedule = LrSchedule {
        peak_lr: 1e-2,
        min_lr: 0.,
        warmup_steps: 1,
        total_steps: 2,
        decay: DecayShape::Cosine,
    };
    let falling = apart(&after_two_steps(&TrainConfig { schedule, ..config })?, &begun);
    let schedule = LrSchedule { decay: DecayShape::Constant, ..schedule };
    let constant = apart(&after_two_steps(&TrainConfig { schedule, ..config })?, &begun);
    assert!(falling < 0.8 * constant, "{falling} {constant}");
    Ok(())
}
