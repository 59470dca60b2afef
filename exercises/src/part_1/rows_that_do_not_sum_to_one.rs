//! 1.4 Rows that do not sum to 1 (find the bug, 4 minutes, ●○○)
//!
//! This attention hides the future: the weights there are 0. Yet the rows of the weights do not sum
//! to 1, and where a later token changes, an earlier output changes too. Three lines at most.
//!
//! Hint: Where does the future still come in, though its weight is 0 at the end?
//! Hint: The denominator of a softmax sums over all keys, the hidden ones too.
//! Hint: Add the mask (0 and −∞) to the scores before the softmax; then nothing is to be multiplied
//! after it.
//! Read: book/src/01_attention.md: ## The mask, and why training is cheap
//! Read: crates/part_1_attention/src/head.rs: pub fn causal_scores
//! Read: book/src/01_attention.md: ## What goes wrong

use attention::causal_mask;
use candle_core::{Result, Tensor};
use tensor_core::ops;

/// Attention weights (T, T) of `q, k: (T, D)`.
pub fn rows_that_do_not_sum_to_one(q: &Tensor, k: &Tensor) -> Result<Tensor> {
    let (t, d) = q.dims2()?;
    let mask = causal_mask(t, q.dtype(), q.device())?; // (T, T): 0, and −∞ in the future
    let scores = (q.matmul(&k.t()?)? / (d as f64).sqrt())?;
    // BUG
    ops::softmax(&(scores + mask)?)
    //| ops::softmax(&scores)? * mask.exp()?
    // END
}

// GRADE

use candle_core::Device;

use crate::grading::{Answers, Fill, Wrong};

type Weights = fn(&Tensor, &Tensor) -> Result<Tensor>;

/// Grader. The reference is part 1's.
pub const GRADE: Fill<Weights> = Fill {
    cases,
    reference: attention::attention_weights,
    tolerance: 1e-6,
    wrong: &[
        Wrong {
            f: |q, k| {
                let (t, d) = q.dims2()?;
                let seen = causal_mask(t, q.dtype(), q.device())?.exp()?; // 1 and 0
                ops::softmax(&((q.matmul(&k.t()?)? / (d as f64).sqrt())? * seen)?)
            },
            says: "the scores of the future are set to 0, and exp 0 is 1; they have to be −∞",
            read: "",
        },
        Wrong {
            f: |q, k| {
                let (t, d) = q.dims2()?;
                let seen = causal_mask(t, q.dtype(), q.device())?.exp()?; // 1 and 0
                let weights = (ops::softmax(&(q.matmul(&k.t()?)? / (d as f64).sqrt())?)? * seen)?;
                weights.broadcast_div(&weights.sum_keepdim(1)?)
            },
            says: "the weights are divided by their sum after the softmax: equal on paper, but \
                   where a later score is far above the others, nothing is left to divide",
            read: "",
        },
    ],
};

fn cases(f: Weights, answers: &mut Answers) {
    for (t, d) in [(2, 3), (4, 2), (6, 5)] {
        let (q, k) = (answers.normal(&[t, d]), answers.normal(&[t, d]));
        answers.record(format!("sums of the rows, {t} tokens"), || f(&q, &k)?.sum(1));
        answers.record(format!("row 1 before the last token came, {t} tokens"), || {
            f(&q.narrow(0, 0, 2)?, &k.narrow(0, 0, 2)?)
        });
        answers.record(format!("weights, {t} tokens"), || f(&q, &k));
    }
    let tensor = |rows: [[f64; 1]; 4]| Tensor::new(&rows, &Device::Cpu).expect("four numbers");
    let (q, k) = (tensor([[1.]; 4]), tensor([[0.3], [-0.5], [0.1], [2000.]]));
    answers.record("weights, where the last token's score is 2,000", || f(&q, &k));
}
