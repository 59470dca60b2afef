//! 1.11 Induction by hand (fill in, 12 minutes, ●●○)
//!
//! Two heads complete any text that repeats itself, without training. The first puts into each
//! token the token before it. The second asks: at which place j is token j − 1 the same as me?
//! There it reads token j, the one that came after. Given
//!
//!     content: (T, V)    row j is 1 at token j
//!     before:  (T, V)    row j is 1 at token j − 1, and row 0 is 0: what the first head wrote
//!
//! return the output of the second head (T, V): query `content`, key `before`, value `content`,
//! scores times `sharpness` instead of 1/√D, causal. Row t then holds, nearly, what followed the
//! earlier places of token t. Where token t stands for the first time there is nothing to find, and
//! the row is the plain average of all tokens so far.
//!
//! Hint: Which of the two says what a place offers (key), which what a token looks for (query)?
//! Hint: Token t looks for places j whose predecessor equals t: the score is content[t] ·
//! before[j].
//! Hint: `let scores = (content.matmul(&before.t()?)? * sharpness)?;` then the mask, the softmax,
//! and the product with `content`.
//! Read: book/src/01_attention.md: ## Intelligence by hand: an induction head
//! Read: crates/part_1_attention/src/readable_heads.rs: Queries and keys that use only one half
//! Read: book/src/01_attention.md: ## Intelligence by hand: an induction head

use attention::causal_mask;
use candle_core::{Result, Tensor};
use tensor_core::ops;

/// Output (T, V) of an induction head on `content` and `before`, both (T, V).
pub fn induction(content: &Tensor, before: &Tensor, sharpness: f64) -> Result<Tensor> {
    let (t, _v) = content.dims2()?;
    let mask = causal_mask(t, content.dtype(), content.device())?;
    // SOLUTION: 3 lines: scores, weights, output
    let scores = (content.matmul(&before.t()?)? * sharpness)?; // (T, T)
    let weights = ops::softmax(&(scores + mask)?)?;
    weights.matmul(content) // (T, T) x (T, V) -> (T, V)
    // END
}

// GRADE

use candle_core::{D, DType, Device};

use crate::grading::{Answers, Fill, Wrong};

type Head = fn(&Tensor, &Tensor, f64) -> Result<Tensor>;

/// Grader. The reference is a loop over places.
pub const GRADE: Fill<Head> = Fill {
    cases,
    reference: by_loops,
    tolerance: 1e-6,
    wrong: &[
        Wrong {
            f: |content, _before, sharpness| induction(content, content, sharpness),
            says: "the key is the content: the head finds its own token, and reads it instead of \
                   the next one",
            read: "",
        },
        Wrong {
            f: |content, before, sharpness| {
                let (t, _v) = content.dims2()?;
                let mask = causal_mask(t, content.dtype(), content.device())?;
                let scores = (content.matmul(&content.t()?)? * sharpness)?;
                ops::softmax(&(scores + mask)?)?.matmul(before)
            },
            says: "it finds its own token and reads the one before: the key has to be `before`",
            read: "",
        },
        Wrong {
            f: |content, before, sharpness| {
                let (t, _v) = content.dims2()?;
                let mask = causal_mask(t, content.dtype(), content.device())?;
                let scores = (before.matmul(&content.t()?)? * sharpness)?;
                ops::softmax(&(scores + mask)?)?.matmul(content)
            },
            says: "query and key are exchanged: the token before me looks for itself",
            read: "",
        },
        Wrong {
            f: |content, before, sharpness| {
                let (t, _v) = content.dims2()?;
                let mask = causal_mask(t, content.dtype(), content.device())?;
                let scores = (content.matmul(&before.t()?)? * sharpness)?;
                ops::softmax(&(scores + mask)?)?.matmul(before)
            },
            says: "the value is the token before; it is the token itself that came after",
            read: "",
        },
        Wrong {
            f: |content, before, sharpness| {
                let scores = (content.matmul(&before.t()?)? * sharpness)?;
                ops::softmax(&scores)?.matmul(content)
            },
            says: "the mask is missing: the head reads the next token where it stands",
            read: "book/src/01_attention.md: ## The mask, and why training is cheap",
        },
        Wrong {
            f: |content, before, sharpness| {
                let (_t, v) = content.dims2()?;
                induction(content, before, sharpness / (v as f64).sqrt())
            },
            says: "the scores are divided by √V as well; `sharpness` stands in the place of 1/√D",
            read: "",
        },
    ],
};

fn by_loops(content: &Tensor, before: &Tensor, sharpness: f64) -> Result<Tensor> {
    let (rows, keys) = (content.to_vec2::<f64>()?, before.to_vec2::<f64>()?);
    let (t, v) = content.dims2()?;
    let mut output = Vec::with_capacity(t * v);
    for (i, query) in rows.iter().enumerate() {
        let score = |key: &Vec<f64>| query.iter().zip(key).map(|(a, b)| a * b).sum::<f64>();
        let weights: Vec<f64> =
            keys[..=i].iter().map(|key| (score(key) * sharpness).exp()).collect();
        let sum: f64 = weights.iter().sum();
        for column in 0..v {
            let weighted = weights.iter().zip(&rows).map(|(weight, row)| weight * row[column]);
            output.push(weighted.sum::<f64>() / sum);
        }
    }
    Tensor::from_vec(output, (t, v), &Device::Cpu)
}

/// Content and predecessors of `tokens`, one-hot.
pub fn one_hot(tokens: &[usize], v: usize) -> Result<(Tensor, Tensor)> {
    let row = |token: Option<usize>| (0..v).map(move |i| f64::from(u8::from(Some(i) == token)));
    let content: Vec<f64> = tokens.iter().flat_map(|&token| row(Some(token))).collect();
    let before = (0..tokens.len()).flat_map(|j| row(j.checked_sub(1).map(|j| tokens[j])));
    let before: Vec<f64> = before.collect();
    let shape = (tokens.len(), v);
    Ok((
        Tensor::from_vec(content, shape, &Device::Cpu)?,
        Tensor::from_vec(before, shape, &Device::Cpu)?,
    ))
}

fn cases(f: Head, answers: &mut Answers) {
    for n in [3, 5, 12] {
        // Distinct tokens in random order, twice
        let mut tokens: Vec<usize> = (0..n).collect();
        answers.rng().shuffle(&mut tokens);
        let tokens = [tokens.clone(), tokens].concat();
        let (content, before) = one_hot(&tokens, n).expect("memory for one-hot rows");
        answers.record(format!("{n} tokens, twice: output"), || f(&content, &before, 3.));
        answers.record(format!("{n} tokens, twice: the copies"), || {
            let output = f(&content, &before, 30.)?;
            output.narrow(0, n, n - 1)?.argmax(D::Minus1)?.to_dtype(DType::F64)
        });
    }
}
