//! 6.6 LoRA, merged (fill in, 12 minutes, ●●○)
//!
//! Beside a frozen matrix W (out, in) stand two small ones, A (R, in) and B (out, R). With s = α /
//! R the layer computes
//!
//!     y = x Wᵀ + s · (x Aᵀ) Bᵀ
//!
//! Merged, it is a plain layer again: y = x W'ᵀ with W' = W + s · B A. Return both, W' and y.
//!
//! Hint: Shapes decide the order: (out, R) times (R, in) is (out, in).
//! Hint: The scale is `alpha / rank as f64`; the rank is the number of rows of A.
//! Hint: `let scale = alpha / rank as f64; let merged = (w + (b.matmul(a)? * scale)?)?;` and y from
//! `x.matmul(&a.t()?)?.matmul(&b.t()?)?`.
//! Read: crates/part_6_sft/src/lora.rs: pub fn lora_weight
//! Read: book/src/06_answering.md: ## LoRA: a small change of large matrices

use candle_core::{Result, Tensor};

/// Merged weight (out, in), and output (N, out) of the layer with its adapter for `x: (N, in)`.
pub fn lora_merged(
    x: &Tensor,
    w: &Tensor,
    a: &Tensor,
    b: &Tensor,
    alpha: f64,
) -> Result<(Tensor, Tensor)> {
    let (rank, _in) = a.dims2()?;
    // SOLUTION: 4 lines: scale, merged weight, output of the two paths
    let scale = alpha / rank as f64;
    let merged = (w + (b.matmul(a)? * scale)?)?; // (out, R) x (R, in) -> (out, in)
    let update = (x.matmul(&a.t()?)?.matmul(&b.t()?)? * scale)?; // (N, out)
    Ok((merged, (x.matmul(&w.t()?)? + update)?))
    // END
}

// GRADE

use crate::grading::{Answers, Fill, Wrong};

type Lora = fn(&Tensor, &Tensor, &Tensor, &Tensor, f64) -> Result<(Tensor, Tensor)>;

/// Grader. The reference is part 6's merged weight.
pub const GRADE: Fill<Lora> = Fill {
    cases,
    reference: |x, w, a, b, alpha| {
        let scale = alpha / a.dims2()?.0 as f64;
        let merged = sft::lora::lora_weight(w, a, b, scale)?;
        let y = x.matmul(&merged.t()?)?;
        Ok((merged, y))
    },
    tolerance: 1e-9,
    wrong: &[
        Wrong {
            f: |x, w, a, b, alpha| lora_merged(x, w, a, b, alpha * a.dims2()?.0 as f64),
            says: "the scale is α; it is α / R",
            read: "",
        },
        Wrong {
            f: |x, w, a, b, _alpha| lora_merged(x, w, a, b, a.dims2()?.0 as f64),
            says: "there is no scale; it is α / R",
            read: "",
        },
        Wrong {
            f: |x, w, a, b, alpha| {
                let rank = a.dims2()?.0;
                lora_merged(x, w, a, b, (alpha as usize / rank * rank) as f64)
            },
            says: "α / R is divided as whole numbers; make R an f64 first",
            read: "",
        },
        Wrong {
            f: |x, w, a, b, alpha| Ok(((w + b.matmul(a)?)?, lora_merged(x, w, a, b, alpha)?.1)),
            says: "the merged weight has no scale; the output has it",
            read: "",
        },
        Wrong {
            f: |x, w, a, b, alpha| {
                let update = x.matmul(&a.t()?)?.matmul(&b.t()?)?;
                Ok((lora_merged(x, w, a, b, alpha)?.0, (x.matmul(&w.t()?)? + update)?))
            },
            says: "the output has no scale; the merged weight has it",
            read: "",
        },
        Wrong {
            f: |x, w, a, b, alpha| {
                let (merged, y) = lora_merged(x, w, a, b, alpha)?;
                Ok((merged, (y - x.matmul(&w.t()?)?)?))
            },
            says: "the output is the path through A and B alone; x Wᵀ belongs to it",
            read: "",
        },
        Wrong {
            f: |x, w, a, b, alpha| {
                let (merged, y) = lora_merged(x, w, a, b, alpha)?;
                Ok(((merged - w)?, y))
            },
            says: "the merged weight is s · B A alone; W belongs to it",
            read: "",
        },
        Wrong {
            f: |x, w, a, b, alpha| {
                let scale = alpha / a.dims2()?.0 as f64;
                let merged = (w + (a.matmul(b)? * scale)?)?;
                let y = x.matmul(&merged.t()?)?;
                Ok((merged, y))
            },
            says: "A B for B A: the product of the weights is (out, R) times (R, in), B first",
            read: "",
        },
        Wrong {
            f: |x, w, a, b, alpha| {
                let (merged, _) = lora_merged(x, w, a, b, alpha)?;
                let update = x.matmul(a)?.matmul(b)?;
                Ok((merged, (x.matmul(&w.t()?)? + update)?))
            },
            says: "x A without the transpose: x is (N, in) and A (R, in), so x Aᵀ is (N, R)",
            read: "",
        },
        Wrong {
            f: |x, w, a, b, alpha| {
                let (merged, _) = lora_merged(x, w, a, b, alpha)?;
                let both = (x.matmul(&w.t()?)? + x.matmul(&a.t()?)?.matmul(&b.t()?)?)?;
                Ok((merged, (both * (alpha / a.dims2()?.0 as f64))?))
            },
            says: "the scale belongs to the path through A and B alone, not to x Wᵀ",
            read: "",
        },
        Wrong {
            f: |x, w, a, b, alpha| {
                let (merged, y) = lora_merged(x, w, a, b, alpha)?;
                Ok((merged.clone(), ((y * 2.)? - x.matmul(&w.t()?)?)?))
            },
            says: "the adapter is counted twice: W' holds it already",
            read: "",
        },
        Wrong {
            f: |x, w, a, b, alpha| Ok((w.clone(), lora_merged(x, w, a, b, alpha)?.1)),
            says: "the merged weight is W alone",
            read: "",
        },
        Wrong {
            f: |x, w, a, b, alpha| Ok((lora_merged(x, w, a, b, alpha)?.0, x.matmul(&w.t()?)?)),
            says: "the output lacks the path through A and B",
            read: "",
        },
    ],
};

fn cases(f: Lora, answers: &mut Answers) {
    for (n_in, n_out, rank, alpha) in [(4, 3, 1, 8.), (6, 5, 2, 8.), (3, 4, 2, 3.)] {
        let (x, w) = (answers.normal(&[2, n_in]), answers.normal(&[n_out, n_in]));
        let (a, b) = (answers.normal(&[rank, n_in]), answers.normal(&[n_out, rank]));
        let zero = b.zeros_like().expect("zeros");
        let case = format!("R = {rank}, α = {alpha}");
        answers.inputs(&[("x", &x), ("W", &w), ("A", &a), ("B", &b)]);
        answers
            .part("merged weight")
            .record(format!("{case}: merged weight"), || Ok(f(&x, &w, &a, &b, alpha)?.0));
        answers
            .part("output")
            .record(format!("{case}, at the start (B = 0)"), || Ok(f(&x, &w, &a, &zero, alpha)?.1));
        answers.record(format!("{case}: output"), || Ok(f(&x, &w, &a, &b, alpha)?.1));
        let gradient = format!("{case}: gradient by B");
        answers.gradient(gradient, &b, |b| Ok(f(&x, &w, &a, b, alpha)?.1));
    }
}
