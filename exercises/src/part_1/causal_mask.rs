//! 1.1 The mask, also after a cache (fill in, 8 minutes, ●○○)
//!
//! A token may attend to itself and to the tokens before it. The mask is added to the scores of T
//! queries and S keys: 0 where query i may see key j, −∞ where key j lies in its future.
//!
//! In training every token is a query, and T = S. A model that writes computes only its newest
//! tokens and keeps the keys of all earlier ones (a cache, part 3). Then the first `past` = S − T
//! keys come from the cache, and the queries are the last T tokens: query i stands at position
//! past + i, key j at position j. The mask may be f64 or f32.
//!
//! Hint: On paper, with two tokens in the cache and two new ones: how many of the four keys may
//! query 0 see, how many query 1?
//! Hint: Compare positions: key j is in the future of query i if j > past + i.
//! Hint: Fill a `Vec<f64>` of T · S cells in two loops and give it to `Tensor::from_vec(cells,
//! (t, s), device)`; a cell is `f64::NEG_INFINITY` if `j > past + i`, else 0.
//! Read: book/src/01_attention.md: ## The mask, and why training is cheap
//! Read: crates/part_1_attention/src/head.rs: pub fn causal_mask
//! Read: book/src/01_attention.md: ## The mask, and why training is cheap

use candle_core::{Device, Result, Tensor};

/// Mask (T, S) of the last `t` of `past + t` tokens, S = past + T.
pub fn causal_mask(t: usize, past: usize, device: &Device) -> Result<Tensor> {
    // SOLUTION: 4 lines: −∞ where key j is in the future of the query at position past + i
    let s = past + t;
    let cell = |i: usize| if i % s > past + i / s { f64::NEG_INFINITY } else { 0. };
    let cells: Vec<f64> = (0..t * s).map(cell).collect();
    Tensor::from_vec(cells, (t, s), device)
    // END
}

// GRADE

use candle_core::DType;

use crate::grading::{Answers, Fill, Wrong};

type Mask = fn(usize, usize, &Device) -> Result<Tensor>;

/// Grader. The reference is the last rows of the whole mask.
pub const GRADE: Fill<Mask> = Fill {
    cases,
    reference: |t, past, device| {
        attention::causal_mask(past + t, DType::F64, device)?.narrow(0, past, t)
    },
    tolerance: 0.,
    wrong: &[
        Wrong {
            f: |t, past, device| of_cells(t, past, device, |i, j| j > i),
            says: "query i is taken to stand at position i, but the cache holds `past` tokens \
                   before it",
            read: "",
        },
        Wrong {
            f: |t, past, device| of_cells(t, past, device, |i, j| j >= past + i),
            says: "a token may not see itself",
            read: "",
        },
        Wrong {
            f: |t, past, device| of_cells(t, past, device, |i, j| j < past + i),
            says: "the past is hidden and the future shown",
            read: "",
        },
        Wrong {
            f: |t, past, device| of_cells(t, past, device, |i, j| j <= past + i),
            says: "all that may be seen is hidden, and the rest shown",
            read: "",
        },
        Wrong {
            f: |t, past, device| {
                let mask = of_cells(t, past, device, |i, j| j > past + i)?;
                mask.eq(0.)?.to_dtype(DType::F64)
            },
            says: "1 and 0 are a mask to multiply with; this one is added to the scores, so it \
                   has 0 and −∞",
            read: "",
        },
    ],
};

fn of_cells(
    t: usize,
    past: usize,
    device: &Device,
    hidden: impl Fn(usize, usize) -> bool,
) -> Result<Tensor> {
    let s = past + t;
    let cell = |i: usize| if hidden(i / s, i % s) { f64::NEG_INFINITY } else { 0. };
    Tensor::from_vec((0..t * s).map(cell).collect::<Vec<f64>>(), (t, s), device)
}

fn cases(f: Mask, answers: &mut Answers) {
    for (t, past) in [(3, 0), (5, 0), (1, 7), (3, 8)] {
        answers.record(format!("T = {t}, {past} cached"), || f(t, past, &Device::Cpu));
    }
    for _ in 0..4 {
        let (t, past) = (1 + answers.rng().below(6), answers.rng().below(6));
        answers.record(format!("T = {t}, {past} cached"), || f(t, past, &Device::Cpu));
    }
}
