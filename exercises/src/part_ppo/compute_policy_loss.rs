//! ppo.1 The policy loss (fill in, 15 minutes, ●●○)
//!
//! Tokens were sampled with log-probabilities `old`; the policy now gives them `new`. With the
//! ratio ρ = exp(new − old), the difference clamped to ±20, the loss of a token is
//!
//!     −min(ρ A, clip(ρ, 1 − ε, 1 + ε) A)          ε is `clip`
//!
//! Return three numbers over the tokens of `mask`: the mean loss, the share of tokens whose ratio
//! is outside the clip range, and the mean of old − new, an estimate of the KL.
//!
//! `masked_mean(&x, Some(mask), None)` is the mean over the tokens of `mask`.
//!
//! Hint: `clamp(low, high)` limits, `minimum` takes the smaller of two tensors element by element.
//! Hint: A ratio is outside where |ρ − 1| > ε. A comparison, `x.gt(0.2)?`, is a tensor of u8:
//! `to_dtype(DType::F64)` makes it countable.
//! Hint: `let free = (&ratio * advantages)?; let bounded = (ratio.clamp(1. - clip, 1. + clip)? *
//! advantages)?; let loss = free.minimum(&bounded)?.neg()?;`
//! Read: crates/part_8_ppo/src/losses.rs: pub fn clipped_surrogate
//! Read: book/src/08_trying.md: ## PPO: a fence instead of a wall

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
        Wrong {
            f: |new, old, a, mask, clip| {
                let [loss, outside, _] = compute_policy_loss(new, old, a, mask, clip)?;
                let log_ratio = (new - old)?;
                let k3 = ((log_ratio.exp()? - 1.)? - log_ratio)?;
                Ok([loss, outside, masked_mean(&k3, Some(mask), None)?])
            },
            says: "the KL is k3, ρ − 1 − ln ρ; asked for is the plain mean of old − new, k1",
            read: "crates/part_8_ppo/src/kl.rs: pub enum KlEstimator",
        },
        Wrong {
            f: |new, old, a, mask, clip| {
                let ratio = (old - new)?.clamp(-20., 20.)?.exp()?;
                with_ratio(&ratio, [new, old, a, mask], clip)
            },
            says: "old and new are exchanged in the ratio: it is exp(new − old)",
            read: "crates/part_8_ppo/src/kl.rs: pub fn ratio",
        },
        Wrong {
            f: |new, old, a, mask, clip| with_ratio(&(new / old)?, [new, old, a, mask], clip),
            says: "log-probabilities are divided; the ratio of two probabilities is the \
                   exponential of the difference of their logarithms",
            read: "crates/part_8_ppo/src/kl.rs: pub fn ratio",
        },
        Wrong {
            f: |new, old, a, mask, clip| {
                with_ratio(&(new - old)?.exp()?, [new, old, a, mask], clip)
            },
            says: "new − old is not clamped to ±20 before the exponential",
            read: "crates/part_8_ppo/src/kl.rs: pub fn ratio",
        },
        Wrong {
            f: |new, old, a, mask, clip| {
                let bounded = (ratio(new, old)?.minimum(1. + clip)? * a)?;
                with_loss(new, old, a, mask, clip, |free, _| free.minimum(&bounded))
            },
            says: "the ratio is clipped above only: at 1 − ε the loss of A < 0 is to be flat, too",
            read: "",
        },
        Wrong {
            f: |new, old, a, mask, clip| {
                let bounded = ((new - old)?.clamp(-clip, clip)?.exp()? * a)?;
                with_loss(new, old, a, mask, clip, |free, _| free.minimum(&bounded))
            },
            says: "the difference new − old is clipped to ±ε; it is the ratio, to 1 ± ε",
            read: "",
        },
        Wrong {
            f: |new, old, a, mask, clip| {
                let [loss, _, kl] = compute_policy_loss(new, old, a, mask, clip)?;
                let above = ratio(new, old)?.gt(1. + clip)?.to_dtype(DType::F64)?;
                Ok([loss, masked_mean(&above, Some(mask), None)?, kl])
            },
            says: "the clip fraction counts ratios above 1 + ε only; those below 1 − ε are outside \
                   as well",
            read: "",
        },
        Wrong {
            f: |new, old, a, mask, clip| {
                let [loss, _, kl] = compute_policy_loss(new, old, a, mask, clip)?;
                let ratio = ratio(new, old)?;
                let bounded = (ratio.clamp(1. - clip, 1. + clip)? * a)?;
                let flat = bounded.lt(&(ratio * a)?)?.to_dtype(DType::F64)?;
                Ok([loss, masked_mean(&flat, Some(mask), None)?, kl])
            },
            says: "the clip fraction counts tokens whose clipped product is the smaller one; asked \
                   for are all whose ratio is outside, whatever A is",
            read: "",
        },
        Wrong {
            f: |new, old, a, mask, clip| {
                let mean = |x: &Tensor| masked_mean(x, Some(mask), Some(1))?.mean_all();
                let [loss, outside] = of_tokens(&ratio(new, old)?, a, clip)?;
                Ok([mean(&loss)?, mean(&outside)?, mean(&(old - new)?)?])
            },
            says: "a mean of means: first over each completion, then over those. A token of a \
                   short completion counts more",
            read: "crates/part_8_ppo/src/masked.rs: pub fn masked_mean",
        },
        Wrong {
            f: |new, old, a, mask, clip| {
                let mean = |x: &Tensor| (x * mask)?.mean_all();
                let [loss, outside] = of_tokens(&ratio(new, old)?, a, clip)?;
                Ok([mean(&loss)?, mean(&outside)?, mean(&(old - new)?)?])
            },
            says: "padding is 0 in the sums, but counted in the number that divides them",
            read: "crates/part_8_ppo/src/masked.rs: pub fn masked_mean",
        },
    ],
};

fn ratio(new: &Tensor, old: &Tensor) -> Result<Tensor> {
    (new - old)?.clamp(-20., 20.)?.exp()
}

/// Loss of each token, and 1 where its ratio is outside the range, both (B, L).
fn of_tokens(ratio: &Tensor, advantages: &Tensor, clip: f64) -> Result<[Tensor; 2]> {
    let bounded = (ratio.clamp(1. - clip, 1. + clip)? * advantages)?;
    let loss = (ratio * advantages)?.minimum(&bounded)?.neg()?;
    let outside = (ratio - 1.)?.abs()?.gt(clip)?.to_dtype(DType::F64)?;
    Ok([loss, outside])
}

/// The three numbers with any `ratio: (B, L)`, from `[new, old, advantages, mask]`.
fn with_ratio(ratio: &Tensor, inputs: [&Tensor; 4], clip: f64) -> Result<[Tensor; 3]> {
    let [new, old, advantages, mask] = inputs;
    let mean = |x: &Tensor| masked_mean(x, Some(mask), None);
    let [loss, outside] = of_tokens(ratio, advantages, clip)?;
    Ok([mean(&loss)?, mean(&outside)?, mean(&(old - new)?)?])
}

fn with_loss(
    new: &Tensor,
    old: &Tensor,
    advantages: &Tensor,
    mask: &Tensor,
    clip: f64,
    choose: impl Fn(&Tensor, &Tensor) -> Result<Tensor>,
) -> Result<[Tensor; 3]> {
    let [_, outside, kl] = compute_policy_loss(new, old, advantages, mask, clip)?;
    let ratio = ratio(new, old)?;
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
    let row = |cells: [f64; 7]| Tensor::new(&[cells], &Device::Cpu).expect("seven numbers");
    let old = row([-1.; 7]);
    let new = row([1., 1.5, 1.5, 1.4, 0.5, 0.5, 3.].map(|ratio: f64| ratio.ln() - 1.));
    let advantages = row([1., 2., -1., -2., 0.5, -3., 4.]);
    let mask = row([1., 1., 1., 1., 1., 1., 0.]);
    for (i, name) in ["loss", "clip fraction", "KL"].into_iter().enumerate() {
        answers.record(format!("{name}, ratios 1, 1.5, 1.5, 1.4, 0.5, 0.5"), || {
            Ok(f(&new, &old, &advantages, &mask, 0.2)?[i].clone())
        });
    }
    let one = |x: f64| Tensor::new(&[[x]], &Device::Cpu).expect("a number");
    answers.record("a ratio of e³⁰, advantage −1: finite", || {
        Ok(f(&one(0.), &one(-30.), &one(-1.), &one(1.), 0.2)?[0].clone())
    });
}
