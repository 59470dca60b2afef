//! 5.3 A router that does not learn (find the bug, 8 minutes, ●●○)
//!
//! Each token goes to its likeliest expert (K = 1), whose output is multiplied with a weight. The
//! experts learn, the router does not: its gradient is 0, and the tokens stay where they were at
//! the start. Three lines at most.
//!
//! Hint: Print the weights. Do they depend on the logits?
//! Hint: p / p is 1, whatever p is.
//! Hint: With K = 1 take p itself, as Switch does: no division.
//! Read: crates/part_5_moe/src/config.rs: With K = 1 the weight is always 1
//! Read: book/src/05_experts.md: ## How does the router learn?

use candle_core::{D, Result, Tensor};
use tensor_core::ops;

/// Outputs (N) of the likeliest expert of each token, weighted; `logits` and the `outputs` of all
/// experts are (N, E).
pub fn router_that_does_not_learn(logits: &Tensor, outputs: &Tensor) -> Result<Tensor> {
    let p = ops::softmax(logits)?; // (N, E)
    let best = p.argmax_keepdim(D::Minus1)?; // (N, 1)
    let chosen = p.gather(&best, 1)?;
    // BUG
    let weights = chosen;
    //| let weights = (&chosen / chosen.sum_keepdim(1)?)?;
    // END
    (weights * outputs.gather(&best, 1)?)?.squeeze(1)
}

// GRADE

use crate::grading::{Answers, Fill, Wrong};

type Layer = fn(&Tensor, &Tensor) -> Result<Tensor>;

/// Grader. The reference multiplies with a mask instead of choosing.
pub const GRADE: Fill<Layer> = Fill {
    cases,
    reference: |logits, outputs| {
        let p = ops::softmax(logits)?;
        let is_best = p.broadcast_eq(&p.max_keepdim(D::Minus1)?)?.to_dtype(p.dtype())?;
        ((p * is_best)? * outputs)?.sum(1)
    },
    tolerance: 1e-6,
    wrong: &[Wrong {
        f: |logits, outputs| {
            let (_n, e) = logits.dims2()?;
            router_that_does_not_learn(logits, outputs)? * e as f64
        },
        says: "the weights are scaled by E; here they are p itself",
        read: "",
    }],
};

fn cases(f: Layer, answers: &mut Answers) {
    for (n, e) in [(3, 2), (4, 4)] {
        let (logits, outputs) = (answers.normal(&[n, e]), answers.normal(&[n, e]));
        answers.gradient(format!("gradient by the router's logits, {e} experts"), &logits, |x| {
            f(x, &outputs)
        });
        answers.record(format!("outputs, {e} experts"), || f(&logits, &outputs));
    }
}
