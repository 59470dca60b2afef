//! 1.6 A head that mixes tokens (find the bug, 8 minutes, ●○○)
//!
//! C channels of T tokens are split among H heads of D = C/H channels: head h of a token has its
//! channels from h D up to, but without, (h + 1) D. The shape that comes out is right, the heads
//! are not: one of them mixes several tokens. Three lines at most.
//!
//! Hint: A reshape keeps the order of the numbers in memory. In which order do they lie?
//! Hint: A token's channels lie together, so (B, T, C) can be read as (B, T, H, D) without moving a
//! number. For (B, H, T, D) numbers have to move, and a reshape moves none.
//! Hint: `x.reshape((b, t, n_head, c / n_head))?.transpose(1, 2)`
//! Read: book/src/01_attention.md: ## Heads
//! Read: crates/part_1_attention/src/multi_head.rs: let split = qkv_by_head
//! Read: book/src/01_attention.md: ## Heads

use candle_core::{Result, Tensor};

/// Heads (B, H, T, D) of `x: (B, T, C)`, C = H D.
pub fn head_that_mixes_tokens(x: &Tensor, n_head: usize) -> Result<Tensor> {
    let (b, t, c) = x.dims3()?;
    let d = c / n_head;
    // BUG
    x.reshape((b, t, n_head, d))?.transpose(1, 2)
    //| x.reshape((b, n_head, t, d))
    // END
}

// GRADE

use crate::grading::{Answers, Fill, Wrong};

type Heads = fn(&Tensor, usize) -> Result<Tensor>;

/// Grader. The reference cuts each head's channels out.
pub const GRADE: Fill<Heads> = Fill {
    cases,
    reference: |x, n_head| {
        let d = x.dim(2)? / n_head;
        let head = |h: usize| x.narrow(2, h * d, d);
        Tensor::stack(&(0..n_head).map(head).collect::<Result<Vec<_>>>()?, 1)
    },
    tolerance: 0.,
    wrong: &[Wrong {
        f: |x, n_head| {
            let (b, t, c) = x.dims3()?;
            x.reshape((b, t, c / n_head, n_head))?.permute((0, 3, 1, 2))
        },
        says: "neighbouring channels go to different heads; a head has D neighbours",
        read: "",
    }],
};

fn cases(f: Heads, answers: &mut Answers) {
    for (b, t, h, d) in [(1, 3, 1, 4), (1, 3, 2, 2), (2, 4, 3, 2)] {
        let x = answers.normal(&[b, t, h * d]);
        answers.record(format!("H = {h}, D = {d}, T = {t}"), || f(&x, h));
    }
}
