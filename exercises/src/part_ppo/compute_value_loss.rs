//! ppo.2 The value loss (fill in, 12 minutes, ●●○)
//!
//! The critic's value V of each token is to meet the return R, and not to move more than ε from
//! its old value in one rollout. The loss of a token is
//!
//!     ½ max((V − R)², (V_clipped − R)²)        V_clipped = V_old + clip(V − V_old, −ε, ε)
//!
//! with ε = `clip`. Return its mean over the tokens of `mask`, and the share (0 to 1) of these
//! tokens where the clipped term is the larger one.
//!
//! `masked_mean(&x, Some(mask), None)` is the mean over the tokens of `mask`.
//!
//! Hint: Clip the *move* from the old value, not the value itself.
//! Hint: `maximum` of two tensors; `clipped.gt(&free)?` says where the clipped term is larger.
//! Hint: `let moved = (old + (new - old)?.clamp(-clip, clip)?)?;` then `(moved - returns)?.sqr()?`.
//! Read: crates/part_8_ppo/src/losses.rs: pub fn value_loss
//! Read: book/src/08_trying.md: ## One step, all together

use candle_core::{DType, Result, Tensor};
use exercises::part_ppo::given::masked_mean;

/// Mean value loss and the share of clipped tokens, each (), from tensors (B, L).
pub fn compute_value_loss(
    new: &Tensor,
    old: &Tensor,
    returns: &Tensor,
    mask: &Tensor,
    clip: f64,
) -> Result<[Tensor; 2]> {
    // SOLUTION: 6 lines: both squared errors, half the larger one, two masked means
    let free = (new - returns)?.sqr()?; // (B, L)
    let moved = (old + (new - old)?.clamp(-clip, clip)?)?;
    let clipped = (moved - returns)?.sqr()?;
    let loss = (free.maximum(&clipped)? / 2.)?;
    let larger = clipped.gt(&free)?.to_dtype(DType::F64)?;
    Ok([masked_mean(&loss, Some(mask), None)?, masked_mean(&larger, Some(mask), None)?])
    // END
}

// GRADE

use candle_core::Device;

use super::compute_policy_loss::ragged;
use crate::grading::{Answers, Fill, Wrong};

type ValueLoss = fn(&Tensor, &Tensor, &Tensor, &Tensor, f64) -> Result<[Tensor; 2]>;

/// Grader. The reference is part 8's.
pub const GRADE: Fill<ValueLoss> = Fill {
    cases,
    reference: |new, old, returns, mask, clip| {
        let loss = ppo::losses::value_loss(new, old, returns, Some(clip))?;
        let share = ppo::losses::value_clip_fraction(new, old, returns, mask, clip)?;
        Ok([ppo::masked_mean(&loss, mask)?, Tensor::new(share, &Device::Cpu)?])
    },
    tolerance: 1e-6,
    wrong: &[
        Wrong {
            f: |new, old, returns, mask, clip| {
                let [_, share] = compute_value_loss(new, old, returns, mask, clip)?;
                let moved = (old + (new - old)?.clamp(-clip, clip)?)?;
                let smaller = (new - returns)?.sqr()?.minimum(&(moved - returns)?.sqr()?)?;
                Ok([masked_mean(&(smaller / 2.)?, Some(mask), None)?, share])
            },
            says: "the smaller of the two errors: a value that moved too far would be excused",
            read: "",
        },
        Wrong {
            f: |new, old, returns, mask, clip| {
                let [loss, share] = compute_value_loss(new, old, returns, mask, clip)?;
                Ok([(loss * 2.)?, share])
            },
            says: "the factor ½ is missing",
            read: "",
        },
        Wrong {
            f: |new, old, returns, mask, clip| {
                compute_value_loss(new, old, returns, &mask.ones_like()?, clip)
            },
            says: "padding is averaged too; the mask is not used",
            read: "crates/part_8_ppo/src/masked.rs: pub fn masked_mean",
        },
        Wrong {
            f: |new, old, returns, mask, clip| {
                let [free, _] = errors(new, old, returns, clip)?;
                let loss = masked_mean(&(free / 2.)?, Some(mask), None)?;
                Ok([loss.clone(), loss.zeros_like()?])
            },
            says: "nothing is clipped",
            read: "",
        },
        Wrong {
            f: |new, _old, returns, mask, clip| {
                let free = (new - returns)?.sqr()?;
                let clipped = (new.clamp(-clip, clip)? - returns)?.sqr()?;
                let larger = clipped.gt(&free)?.to_dtype(DType::F64)?;
                let mean = |x: &Tensor| masked_mean(x, Some(mask), None);
                Ok([mean(&(free.maximum(&clipped)? / 2.)?)?, mean(&larger)?])
            },
            says: "the value itself is clipped to ±ε; its move from the old value is to be",
            read: "",
        },
        Wrong {
            f: |new, old, returns, mask, clip| {
                let [_, share] = compute_value_loss(new, old, returns, mask, clip)?;
                let [free, _] = errors(new, old, returns, clip)?;
                Ok([masked_mean(&(free / 2.)?, Some(mask), None)?, share])
            },
            says: "the loss is ½ (V − R)² alone: the clipped error is computed, and not used",
            read: "",
        },
        Wrong {
            f: |new, old, returns, mask, clip| {
                let [_, share] = compute_value_loss(new, old, returns, mask, clip)?;
                let [_, clipped] = errors(new, old, returns, clip)?;
                Ok([masked_mean(&(clipped / 2.)?, Some(mask), None)?, share])
            },
            says: "the clipped error alone: a value that moved too far away from the return gets \
                   no gradient back",
            read: "",
        },
        Wrong {
            f: |new, old, returns, mask, clip| {
                let moved = (old + (new - old)?.minimum(clip)?)?;
                let (free, clipped) = ((new - returns)?.sqr()?, (moved - returns)?.sqr()?);
                let larger = clipped.gt(&free)?.to_dtype(DType::F64)?;
                let mean = |x: &Tensor| masked_mean(x, Some(mask), None);
                Ok([mean(&(free.maximum(&clipped)? / 2.)?)?, mean(&larger)?])
            },
            says: "the move is clipped above only, to +ε; a value may not fall by more than ε \
                   either",
            read: "",
        },
        Wrong {
            f: |new, old, returns, mask, clip| {
                let [_, share] = compute_value_loss(new, old, returns, mask, clip)?;
                let mean = |x: &Tensor| masked_mean(x, Some(mask), None);
                let [free, clipped] = errors(new, old, returns, clip)?;
                Ok([(mean(&free)?.maximum(&mean(&clipped)?)? / 2.)?, share])
            },
            says: "the larger of two means; the larger error is taken token by token, and then \
                   the mean",
            read: "",
        },
        Wrong {
            f: |new, old, returns, mask, clip| {
                let [free, clipped] = errors(new, old, returns, clip)?;
                let larger = clipped.gt(&free)?.to_dtype(DType::F64)?;
                let mean = |x: &Tensor| masked_mean(x, Some(mask), Some(1))?.mean_all();
                Ok([mean(&(free.maximum(&clipped)? / 2.)?)?, mean(&larger)?])
            },
            says: "a mean of means: first over each completion, then over those. A token of a \
                   short completion counts more",
            read: "crates/part_8_ppo/src/masked.rs: pub fn masked_mean",
        },
        Wrong {
            f: |new, old, returns, mask, clip| {
                let [loss, _] = compute_value_loss(new, old, returns, mask, clip)?;
                let [free, clipped] = errors(new, old, returns, clip)?;
                let smaller = free.gt(&clipped)?.to_dtype(DType::F64)?;
                Ok([loss, masked_mean(&smaller, Some(mask), None)?])
            },
            says: "the share is that of tokens whose clipped error is the smaller one",
            read: "",
        },
        Wrong {
            f: |new, old, returns, mask, clip| {
                let [loss, _] = compute_value_loss(new, old, returns, mask, clip)?;
                let far = (new - old)?.abs()?.gt(clip)?.to_dtype(DType::F64)?;
                Ok([loss, masked_mean(&far, Some(mask), None)?])
            },
            says: "the share counts all values that moved by more than ε; asked for are those \
                   whose clipped error is the larger one",
            read: "",
        },
    ],
};

/// Squared errors of the values and of the clipped values, both (B, L).
fn errors(new: &Tensor, old: &Tensor, returns: &Tensor, clip: f64) -> Result<[Tensor; 2]> {
    let moved = (old + (new - old)?.clamp(-clip, clip)?)?;
    Ok([(new - returns)?.sqr()?, (moved - returns)?.sqr()?])
}

fn cases(f: ValueLoss, answers: &mut Answers) {
    for l in [3, 6] {
        let [old, returns] = [0, 1].map(|_| answers.normal(&[2, l]));
        let new = (&old + (answers.normal(&[2, l]) * 0.4).expect("a product")).expect("a sum");
        let mask = ragged(l);
        answers.record(format!("loss, {l} tokens"), || {
            Ok(f(&new, &old, &returns, &mask, 0.2)?[0].clone())
        });
        answers.record(format!("share of clipped, {l} tokens"), || {
            Ok(f(&new, &old, &returns, &mask, 0.2)?[1].clone())
        });
        answers.gradient(format!("gradient, {l} tokens"), &new, |new| {
            Ok(f(new, &old, &returns, &mask, 0.2)?[0].clone())
        });
    }
    // A value that stays near, two that approach the return too fast, one that leaves it; padding
    let row = |cells: [f64; 5]| Tensor::new(&[cells], &Device::Cpu).expect("five numbers");
    let (old, new) = (row([0.; 5]), row([0.1, 0.5, -0.5, -0.3, 0.7]));
    let returns = row([1., 1., -1., 1., 0.]);
    for (tokens, mask) in
        [("0.1, 0.5, −0.5, −0.3", [1., 1., 1., 1., 0.]), ("−0.3", [0., 0., 0., 1., 0.])]
    {
        let mask = row(mask);
        for (i, name) in ["loss", "share of clipped"].into_iter().enumerate() {
            answers.record(format!("{name}, values moved by {tokens}"), || {
                Ok(f(&new, &old, &returns, &mask, 0.2)?[i].clone())
            });
        }
    }
}
