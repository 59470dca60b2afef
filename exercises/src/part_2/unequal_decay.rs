//! 2.6 Unequal decay (find the bug, 8 minutes, ●●○)
//!
//! Three weights of the same size, without any signal: their gradients are noise of very different
//! size. Weight decay should pull all three towards 0 at the same rate. It hardly moves the one
//! with the large gradients. Three lines at most.
//!
//! Hint: What happens to a number that is added to g before m and v are made of it?
//! Hint: m̂ / √v̂ divides the decay by the size of the gradients.
//! Hint: Take λ p out of the gradient and subtract `lr * weight_decay * p` in the last line.
//! Read: crates/tensor_core/src/adamw.rs: decoupled weight decay
//! Read: book/src/02_tiny_gpt.md: ## Weight decay: who, and why

/// Weight after updates with each of `gradients`, at learning rate `lr`.
pub fn unequal_decay(mut p: f64, gradients: &[f64], lr: f64, weight_decay: f64) -> f64 {
    let (beta1, beta2, eps) = (0.9f64, 0.95f64, 1e-8);
    let (mut m, mut v) = (0., 0.);
    for (t, &g) in (1..).zip(gradients) {
        // BUG
        //| let g = g + weight_decay * p;
        // END
        m = beta1 * m + (1. - beta1) * g;
        v = beta2 * v + (1. - beta2) * g * g;
        let (m_hat, v_hat) = (m / (1. - beta1.powi(t)), v / (1. - beta2.powi(t)));
        // BUG
        p -= lr * weight_decay * p + lr * m_hat / (v_hat.sqrt() + eps);
        //| p -= lr * m_hat / (v_hat.sqrt() + eps);
        // END
    }
    p
}

// GRADE

use tensor_core::{AdamWConfig, MomentFormat};

use super::adamw::adamw;
use crate::grading::{Answers, Fill, Wrong};

type Updates = fn(f64, &[f64], f64, f64) -> f64;

/// Grader. The reference is the course's update.
pub const GRADE: Fill<Updates> = Fill {
    cases,
    reference: |mut p, gradients, lr, weight_decay| {
        let (beta1, beta2, eps) = (0.9, 0.95, 1e-8);
        let config = AdamWConfig { beta1, beta2, eps, weight_decay, moments: MomentFormat::Full };
        let (mut m, mut v) = (0., 0.);
        for (t, &g) in (1..).zip(gradients) {
            adamw(&mut p, g, &mut m, &mut v, t, lr, &config);
        }
        p
    },
    tolerance: 1e-9,
    wrong: &[Wrong {
        f: |p, gradients, lr, _weight_decay| unequal_decay(p, gradients, lr, 0.),
        says: "nothing decays any more",
        read: "",
    }],
};

fn cases(f: Updates, answers: &mut Answers) {
    for scale in [1e-3, 1., 1e3] {
        let gradients: Vec<f64> = (0..200).map(|_| scale * answers.rng().normal()).collect();
        let label = format!("weight after 200 updates, gradients around {scale}");
        answers.record(label, || Ok(f(1., &gradients, 0.01, 0.5)));
    }
}
