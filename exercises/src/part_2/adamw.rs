//! 2.4 AdamW in ten lines (fill in, 15 minutes, ●●○)
//!
//! For one weight p with gradient g at step t = 1, 2, ...:
//!
//!     m ← β₁ m + (1 − β₁) g           m̂ = m / (1 − β₁ᵗ)
//!     v ← β₂ v + (1 − β₂) g²          v̂ = v / (1 − β₂ᵗ)
//!     p ← p − lr · λ · p − lr · m̂ / (√v̂ + ε)
//!
//! m and v begin at 0, and the division by 1 − βᵗ makes up for it. λ is the weight decay.
//!
//! Hint: The moments are changed in place and must not hold the corrected values m̂ and v̂.
//! Hint: `beta1.powi(t)` is β₁ᵗ. Both terms of the last line use the old p.
//! Hint: `*p -= lr * weight_decay * *p + lr * m_hat / (v_hat.sqrt() + eps);`
//! Read: crates/part_2_tiny_gpt/src/adamw.rs: pub fn adamw_update
//! Read: book/src/02_tiny_gpt.md: ## From gradient descent to AdamW

use tensor_core::AdamWConfig;

/// Update number `t` of the weight `p`, whose moments are `m` and `v`.
pub fn adamw(p: &mut f64, g: f64, m: &mut f64, v: &mut f64, t: i32, lr: f64, config: &AdamWConfig) {
    let AdamWConfig { beta1, beta2, eps, weight_decay, .. } = *config;
    // SOLUTION: 5 lines: both moments, both corrections, the step
    *m = beta1 * *m + (1. - beta1) * g;
    *v = beta2 * *v + (1. - beta2) * g * g;
    let m_hat = *m / (1. - beta1.powi(t));
    let v_hat = *v / (1. - beta2.powi(t));
    *p -= lr * weight_decay * *p + lr * m_hat / (v_hat.sqrt() + eps);
    // END
}

// GRADE

use candle_core::{Device, Tensor};
use tensor_core::WeightDecay;
use tiny_gpt::adamw::{AdamMoments, adamw_update};

use crate::grading::{Answers, Fill, Wrong};

type Update = fn(&mut f64, f64, &mut f64, &mut f64, i32, f64, &AdamWConfig);

/// Grader. The reference is part 2's, which agrees with PyTorch's.
pub const GRADE: Fill<Update> = Fill {
    cases,
    reference: |p, g, m, v, t, lr, config| {
        let tensor = |x: f64| Tensor::new(x, &Device::Cpu).expect("a number");
        let moments = AdamMoments { first: tensor(*m), second: tensor(*v), updates: t - 1 };
        let updated = adamw_update(&tensor(*p), &tensor(g), &moments, lr, WeightDecay::Yes, config);
        let (new, moments) = updated.expect("an update of a number");
        let number = |x: &Tensor| x.to_scalar::<f64>().expect("a number");
        (*p, *m, *v) = (number(&new), number(&moments.first), number(&moments.second));
    },
    tolerance: 1e-9,
    wrong: &[
        Wrong {
            f: |p, g, m, v, t, lr, config| {
                wrongly(p, g, m, v, t, lr, config, Mistake::NoCorrection)
            },
            says: "the moments are not divided by 1 − βᵗ, so the first steps are wrong",
            read: "",
        },
        Wrong {
            f: |p, g, m, v, t, lr, config| {
                wrongly(p, g, m, v, t, lr, config, Mistake::DecayInGradient)
            },
            says: "λ p is added to the gradient; that is Adam with L2, whose decay v̂ divides away",
            read: "crates/tensor_core/src/adamw.rs: decoupled weight decay",
        },
        Wrong {
            f: |p, g, m, v, t, lr, config| {
                wrongly(p, g, m, v, t, lr, config, Mistake::EpsInsideRoot)
            },
            says: "ε is inside the root; it is added to √v̂",
            read: "",
        },
        Wrong {
            f: |p, g, m, v, t, lr, config| {
                wrongly(p, g, m, v, t, lr, config, Mistake::DecayWithoutLr)
            },
            says: "the decay is not multiplied by the learning rate",
            read: "",
        },
        Wrong {
            f: |p, g, m, v, t, lr, config| wrongly(p, g, m, v, t + 1, lr, config, Mistake::None),
            says: "t is one too large: the first update has t = 1, and it is given",
            read: "",
        },
        Wrong {
            f: |p, g, m, v, t, lr, config| wrongly(p, g, m, v, t, lr, config, Mistake::NoRoot),
            says: "the root of v̂ is missing",
            read: "",
        },
    ],
};

#[derive(PartialEq, Clone, Copy)]
enum Mistake {
    None,
    NoCorrection,
    DecayInGradient,
    EpsInsideRoot,
    DecayWithoutLr,
    NoRoot,
}

#[allow(clippy::too_many_arguments)] // the learner's, and one
fn wrongly(
    p: &mut f64,
    g: f64,
    m: &mut f64,
    v: &mut f64,
    t: i32,
    lr: f64,
    config: &AdamWConfig,
    mistake: Mistake,
) {
    let AdamWConfig { beta1, beta2, eps, weight_decay, .. } = *config;
    let is = |other| mistake == other;
    let g = if is(Mistake::DecayInGradient) { g + weight_decay * *p } else { g };
    *m = beta1 * *m + (1. - beta1) * g;
    *v = beta2 * *v + (1. - beta2) * g * g;
    let correction = |beta: f64| if is(Mistake::NoCorrection) { 1. } else { 1. - beta.powi(t) };
    let (m_hat, v_hat) = (*m / correction(beta1), *v / correction(beta2));
    let root = match mistake {
        Mistake::EpsInsideRoot => (v_hat + eps).sqrt(),
        Mistake::NoRoot => v_hat + eps,
        _ => v_hat.sqrt() + eps,
    };
    let decay = match mistake {
        Mistake::DecayInGradient => 0.,
        Mistake::DecayWithoutLr => weight_decay,
        _ => lr * weight_decay,
    };
    *p -= decay * *p + lr * m_hat / root;
}

fn cases(f: Update, answers: &mut Answers) {
    let config = AdamWConfig { eps: 1e-3, ..AdamWConfig::default() };
    for (label, scale) in [("gradients around 1", 1.), ("gradients around 0.001", 1e-3)] {
        let gradients: Vec<f64> = (0..50).map(|_| scale * answers.rng().normal()).collect();
        let run = || {
            let (mut p, mut m, mut v) = (1., 0., 0.);
            let mut rows = Vec::new();
            for (t, g) in (1..).zip(&gradients) {
                f(&mut p, *g, &mut m, &mut v, t, 0.01, &config);
                rows.push([p, m, v]);
            }
            rows
        };
        answers.record(format!("p, m, v after a step, {label}"), || Ok(run()[0]));
        answers.record(format!("p, m, v in 50 steps, {label}"), || Ok(run()));
    }
}
