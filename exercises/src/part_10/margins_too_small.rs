//! 10.5 Margins that are too small (find the bug, 8 minutes, ●●○)
//!
//! The log-probability of a completion, as DPO needs it. `log_probs[t]` is that of the token at
//! place t + 1, the first `prompt_len` tokens are the prompt, and the last token is the end. With
//! this function the first loss is ln 2 as it should be, but all margins are smaller than TRL's,
//! the more so the longer the completions. Three lines at most.
//!
//! Hint: What does the probability of a text have to do with those of its tokens?
//! Hint: A product of probabilities is a sum of logarithms.
//! Hint: Return the sum, without the division by its number of tokens.
//! Read: crates/part_10_dpo/src/log_probs.rs: pub fn completion_log_probs
//! Read: book/src/10_without_trying.md: ## What goes wrong

/// Log-probability of the completion, its end included, after a prompt of `prompt_len` tokens.
pub fn margins_too_small(log_probs: &[f64], prompt_len: usize) -> f64 {
    let of_completion = &log_probs[prompt_len - 1..];
    let sum: f64 = of_completion.iter().sum();
    // BUG
    sum
    //| sum / of_completion.len() as f64
    // END
}

// GRADE

use crate::grading::{Answers, Fill, Wrong};

type LogProb = fn(&[f64], usize) -> f64;

/// Grader. The reference multiplies probabilities.
pub const GRADE: Fill<LogProb> = Fill {
    cases,
    reference: |log_probs, prompt_len| {
        let tokens = log_probs.iter().enumerate().skip(prompt_len - 1);
        tokens.map(|(_, log_prob)| log_prob.exp()).product::<f64>().ln()
    },
    tolerance: 1e-9,
    wrong: &[
        Wrong {
            f: |log_probs, prompt_len| log_probs[prompt_len..].iter().sum(),
            says: "the first token of the completion is left out: it is predicted at the last \
                   place of the prompt",
            read: "crates/part_6_sft/src/tokenized_example.rs: pub fn labels",
        },
        Wrong {
            f: |log_probs, prompt_len| log_probs[prompt_len - 1..log_probs.len() - 1].iter().sum(),
            says: "the end token is left out: when to stop is part of the answer",
            read: "",
        },
        Wrong {
            f: |log_probs, _| log_probs.iter().sum(),
            says: "the prompt is counted; it is given, and nobody is to learn it",
            read: "",
        },
    ],
};

fn cases(f: LogProb, answers: &mut Answers) {
    for (n, prompt_len) in [(2, 1), (6, 3), (12, 2)] {
        let log_probs: Vec<f64> = (0..n).map(|_| -answers.rng().uniform() - 0.1).collect();
        answers.record(
            format!("{} tokens after a prompt of {prompt_len}", n + 1 - prompt_len),
            || Ok(f(&log_probs, prompt_len)),
        );
    }
}
