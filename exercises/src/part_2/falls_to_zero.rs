//! 2.2 A loss that falls to 0 (find the bug, 6 minutes, ●○○)
//!
//! A model trained with these batches reaches a loss of 0.00 within a hundred steps, on any text.
//! The bigram of part 0 has more than 2 nats per byte, and no honest model comes to 0. What does it
//! learn to do? Three lines at most.
//!
//! Hint: With which input would it be easy to say the target?
//! Hint: Position t sees the tokens up to t. What is the target there?
//! Hint: The targets are the window moved by one token: from `start + 1` to `start + t`.
//! Read: crates/part_2_tiny_gpt/src/batches.rs: pub fn from_starts
//! Read: book/src/02_tiny_gpt.md: ## From text to batches

/// Inputs and targets, each of `t` tokens per start: at every place the target is the next token.
pub fn falls_to_zero(tokens: &[u32], starts: &[usize], t: usize) -> (Vec<u32>, Vec<u32>) {
    let (mut inputs, mut targets) = (Vec::new(), Vec::new());
    for &start in starts {
        inputs.extend_from_slice(&tokens[start..start + t]);
        // BUG
        targets.extend_from_slice(&tokens[start + 1..start + 1 + t]);
        //| targets.extend_from_slice(&tokens[start..start + t]);
        // END
    }
    (inputs, targets)
}

// GRADE

use candle_core::Device;
use tiny_gpt::Batch;

use crate::grading::{Answers, Fill, Wrong};

type Batches = fn(&[u32], &[usize], usize) -> (Vec<u32>, Vec<u32>);

/// Grader. The reference is part 2's.
pub const GRADE: Fill<Batches> = Fill {
    cases,
    reference: |tokens, starts, t| {
        let batch = Batch::from_starts(tokens, starts, t, &Device::Cpu).expect("windows that fit");
        let read = |x: &candle_core::Tensor| {
            let x = x.to_dtype(candle_core::DType::U32)?.flatten_all()?;
            x.to_vec1()
        };
        (read(&batch.inputs).expect("numbers"), read(&batch.targets).expect("numbers"))
    },
    tolerance: 0.,
    wrong: &[Wrong {
        f: |tokens, starts, t| {
            let (inputs, targets) = falls_to_zero(tokens, starts, t);
            (targets, inputs)
        },
        says: "inputs and targets are exchanged: the model learns to write backwards",
        read: "",
    }],
};

fn cases(f: Batches, answers: &mut Answers) {
    let tokens: Vec<u32> = b"the moon is high, the night is deep".map(u32::from).to_vec();
    let numbers = |tokens: Vec<u32>| tokens.into_iter().map(f64::from).collect::<Vec<_>>();
    for (starts, t) in [(vec![0], 4), (vec![5, 0, 11], 8)] {
        let n = starts.len();
        answers.record(format!("inputs of {n} windows"), || Ok(numbers(f(&tokens, &starts, t).0)));
        answers.record(format!("targets of {n} windows"), || Ok(numbers(f(&tokens, &starts, t).1)));
    }
}
