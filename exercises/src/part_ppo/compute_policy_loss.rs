//! ppo.1 The policy loss (fill in, 15 minutes, ●●○)
//!
//! Tokens were sampled with log-probabilities `old`; the policy now gives them `new`. With the
//! ratio ρ = exp(new − old), the difference clamped to ±20, the loss of a token is
//!
//!     −min(ρ A, clip(ρ, 1 − ε, 1 + ε) A)
//!
//! Return three numbers over the tokens of `mask`: the mean loss, the share of tokens whose ratio
//! is outside the clip range, and the mean of old − new, an estimate of the KL.
//!
//! `masked_mean(&x, Some(mask), None)` is the mean over the tokens of `mask`.
//!
//! Hint: `clamp(low, high)` limits, `minimum` takes the smaller of two tensors element by element.
//! Hint: `masked_mean(&x, Some(mask), None)` is the mean over the tokens. A comparison,
//! `x.gt(0.2)?`, is a tensor of u8: `to_dtype(DType::F64)` makes it countable.
//! Hint: `let free = (&ratio * advantages)?; let bounded = (ratio.clamp(1. - clip, 1. + clip)? *
//! advantages)?; let loss = free.minimum(&bounded)?.neg()?;`
//! Read: crates/part_8_ppo/src/losses.rs: pub fn clipped_surrogate

use candle_core::{DType, Result, Tensor, bail};
use exercises::part_ppo::given::masked_mean;

/// Mean loss, clip fraction and approximate KL, each (), from tensors (B, L).
pub fn compute_policy_loss(
    new: &Tensor,
    old: &Tensor,
    advantages: &Tensor,
    mask: &Tensor,
    clip: f64,
) -> Result<[Tensor; 3]> {
    if advantages.dims() != old.dims() {
        bail!("advantages {:?} and log-probabilities {:?}", advantages.dims(), old.dims());
    }
    // SOLUTION: 8 lines: ratio, the smaller of two products, and three masked means
    let ratio = (new - old)?.clamp(-20., 20.)?.exp()?; // (B, L)
    let free = (&ratio * advantages)?;
    let bounded = (ratio.clamp(1. - clip, 1. + clip)? * advantages)?;
    let loss = free.minimum(&bounded)?.neg()?;
    let outside = (ratio - 1.)?.abs()?.gt(clip)?.to_dtype(DType::F64)?;
    let mean = |x: &Tensor| masked_mean(x, Some(mask), None);
    Ok([mean(&loss)?, mean(&outside)?, mean(&(old - new)?)?])
    // END
}

// GRADE

use candle_core::Device;
use ppo::Clip;

use crate::grading::{Answers, Fill, Wrong};

type PolicyLoss = fn(&Tensor, &Tensor, &Tensor, &Tensor, f64) -> Result<[Tensor; 3]>;

/// Grader. The reference is part 8's.
pub const GRADE: Fill<PolicyLoss> = Fill {
    cases,
    reference: |new, old, advantages, mask, clip| {
        let bounds = Clip::symmetric(clip);
        let loss = ppo::clipped_surrogate(new, old, advantages, bounds)?;
        let outside = ppo::losses::clip_fraction(new, old, mask, bounds)?;
        let kl = ppo::masked_mean(&(old - new)?, mask)?;
        Ok([ppo::masked_mean(&loss, mask)?, Tensor::new(outside, &Device::Cpu)?, kl])
    },
    tolerance: 1e-6,
    wrong: &[
        Wrong {
            f: |new, old, a, mask, clip| {
                with_loss(new, old, a, mask, clip, |free, b| free.maximum(b))
            },
            says: "the larger of the two products: clipping then helps a runaway ratio",
            read: "",
        },
        Wrong {
            f: |new, old, a, mask, clip| {
                with_loss(new, old, a, mask, clip, |free, _| Ok(free.clone()))
            },
            says: "nothing is clipped",
            read: "",
        },
        Wrong {
            f: |new, old, a, mask, clip| {
                with_loss(new, old, a, mask, clip, |_, b: &Tensor| Ok(b.clone()))
            },
            says: "the clipped product alone: what moved the wrong way gets no gradient back",
            read: "",
        },
        Wrong {
            f: |new, old, a, mask, clip| {
                let [loss, outside, kl] = compute_policy_loss(new, old, a, mask, clip)?;
                Ok([loss.neg()?, outside, kl])
            },
            says: "the sign: the objective is to be raised, so the loss is its negative",
            read: "",
        },
        Wrong {
            f: |new, old, a, mask, clip| compute_policy_loss(new, old, a, &mask.ones_like()?, clip),
            says: "padding is averaged too; the mask is not used",
            read: "crates/part_8_ppo/src/masked.rs: pub fn masked_mean",
        },
        Wrong {
            f: |new, old, a, mask, clip| {
                let [loss, outside, kl] = compute_policy_loss(new, old, a, mask, clip)?;
                Ok([loss, outside, kl.neg()?])
            },
            says: "the KL has its sign turned: it is the mean of old − new",
            read: "crates/part_8_ppo/src/kl.rs: KL(π ‖ π_ref) = −E log_ratio",
        },
    ],
};

fn with_loss(
    new: &Tensor,
    old: &Tensor,
    advantages: &Tensor,
    mask: &Tensor,
    clip: f64,
    choose: impl Fn(&Tensor, &Tensor) -> Result<Tensor>,
) -> Result<[Tensor; 3]> {
    let [_, outside, kl] = compute_policy_loss(new, old, advantages, mask, clip)?;
    let ratio = (new - old)?.clamp(-20., 20.)?.exp()?;
    let bounded = (ratio.clamp(1. - clip, 1. + clip)? * advantages)?;
    let loss = choose(&(ratio * advantages)?, &bounded)?.neg()?;
    Ok([masked_mean(&loss, Some(mask), None)?, outside, kl])
}

/// Mask (2, L) whose second row ends early.
pub(super) fn ragged(l: usize) -> Tensor {
    let cell = |i: usize| f64::from(u8::from(i < l || i % l < l - 2));
    let cells: Vec<f64> = (0..2 * l).map(cell).collect();
    Tensor::from_vec(cells, (2, l), &Device::Cpu).expect("a small mask")
}

fn cases(f: PolicyLoss, answers: &mut Answers) {
    for l in [3, 6] {
        let (old, advantages) = (answers.normal(&[2, l]), answers.normal(&[2, l]));
        let new = (&old + (answers.normal(&[2, l]) * 0.4).expect("a product")).expect("a sum");
        let mask = ragged(l);
        for (i, name) in ["loss", "clip fraction", "KL"].into_iter().enumerate() {
            answers.record(format!("{name}, {l} tokens"), || {
                Ok(f(&new, &old, &advantages, &mask, 0.2)?[i].clone())
            });
        }
        answers.gradient(format!("gradient, {l} tokens"), &new, |new| {
            Ok(f(new, &old, &advantages, &mask, 0.2)?[0].clone())
        });
    }
    let one = |x: f64| Tensor::new(&[[x]], &Device::Cpu).expect("a number");
    answers.record("a ratio of e³⁰, advantage −1: finite", || {
        Ok(f(&one(0.), &one(-30.), &one(-1.), &one(1.), 0.2)?[0].clone())
    });
}
