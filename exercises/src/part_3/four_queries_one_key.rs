//! 3.7 Four queries, one key (fill in, 15 minutes, ●●○)
//!
//! In grouped-query attention H query heads share KV key heads: the first H/KV queries read the
//! first key, the next the second, and so on. Return the scores q·k / √D of all queries, (H, T, S).
//!
//! Hint: Query head h belongs to key head h / (H / KV), rounded down.
//! Hint: Either repeat each key H/KV times in a row, or reshape q to (KV, H/KV · T, D) and multiply
//! once.
//! Hint: `q.reshape((kv, h / kv * t, d))?.matmul(&k.transpose(1, 2)?)?.reshape((h, t, s))?`, then
//! divide by √D.
//! Read: crates/part_3_modern/src/attention.rs: pub fn queries_keys_values
//! Read: book/src/03_modern.md: ## Fewer keys: grouped queries

use candle_core::{Result, Tensor};

/// Scores (H, T, S) of `q: (H, T, D)` with `k: (KV, S, D)`; KV divides H.
pub fn four_queries_one_key(q: &Tensor, k: &Tensor) -> Result<Tensor> {
    let (h, t, d) = q.dims3()?;
    let (kv, s, _d) = k.dims3()?;
    // SOLUTION: 3 lines: the queries of a key together, one product, √D
    let grouped = q.reshape((kv, h / kv * t, d))?; // (H, T, D) -> (KV, H/KV T, D)
    let scores = grouped.matmul(&k.transpose(1, 2)?.contiguous()?)?; // (KV, H/KV T, S)
    scores.reshape((h, t, s))? / (d as f64).sqrt()
    // END
}

// GRADE

use crate::grading::{Answers, Fill, Wrong};

type Scores = fn(&Tensor, &Tensor) -> Result<Tensor>;

/// Grader. The reference goes head by head.
pub const GRADE: Fill<Scores> = Fill {
    cases,
    reference: |q, k| by_head(q, k, |head, h, kv| head / (h / kv)),
    tolerance: 1e-9,
    wrong: &[
        Wrong {
            f: |q, k| by_head(q, k, |head, _h, kv| head % kv),
            says: "keys are repeated as 0 1 0 1; query heads 0 and 1 share key head 0: 0 0 1 1",
            read: "",
        },
        Wrong {
            f: |q, k| {
                let (_h, _t, d) = q.dims3()?;
                four_queries_one_key(q, k)? * (d as f64).sqrt()
            },
            says: "the scores are not divided by √D",
            read: "crates/part_1_attention/src/by_hand.rs: √D. Without it",
        },
        Wrong {
            f: |q, k| by_head(q, k, |_, _, _| 0),
            says: "all queries read the first key head",
            read: "",
        },
        Wrong {
            f: |q, k| {
                let (_h, _t, d) = q.dims3()?;
                four_queries_one_key(q, k)? / (d as f64).sqrt()
            },
            says: "the scores are divided by D; it is its root",
            read: "crates/part_1_attention/src/by_hand.rs: √D. Without it",
        },
    ],
};

fn by_head(
    q: &Tensor,
    k: &Tensor,
    key_of: impl Fn(usize, usize, usize) -> usize,
) -> Result<Tensor> {
    let ((h, _t, d), (kv, _s, _)) = (q.dims3()?, k.dims3()?);
    let scores = (0..h).map(|head| {
        let k = k.get(key_of(head, h, kv))?.t()?;
        q.get(head)?.matmul(&k)? / (d as f64).sqrt()
    });
    Tensor::stack(&scores.collect::<Result<Vec<_>>>()?, 0)
}

fn cases(f: Scores, answers: &mut Answers) {
    for (h, kv, t, s) in [(2, 2, 2, 3), (4, 2, 2, 3), (8, 2, 1, 4), (6, 3, 3, 3)] {
        let (q, k) = (answers.normal(&[h, t, 4]), answers.normal(&[kv, s, 4]));
        answers.inputs(&[("q", &q), ("k", &k)]);
        answers.record(format!("{h} queries, {kv} keys"), || f(&q, &k));
        answers.gradient(format!("gradient by k, {h} queries, {kv} keys"), &k, |k| f(&q, k));
    }
}
