//! 5.2 Dispatch: tokens sorted by their experts, so that each expert finds its own in one piece, and the way back.
//!
//! ```text
//! experts of tokens 0 1 2 3      2 0 2 1
//! rows for the experts           1 | 3 | 0 2       tokens, sorted by expert; counts 1 1 2
//! positions of tokens 0 1 2 3    2 0 3 1           where each one's row is
//! ```
//!
//! With a capacity, an expert that has all it may take drops what comes later: second choices before first ones, later tokens
//! before earlier ones (GShard, Lepikhin et al., <https://arxiv.org/abs/2006.16668>, algorithm 1). A token that is dropped
//! everywhere is not worked on; the residual path carries it on.

/// Where the rows of each expert come from and go to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dispatch {
    /// The token of each row.
    pub token_indices: Vec<u32>,
    /// The rows of each expert.
    pub rows_per_expert: Vec<usize>,
    /// (N, K): the row of each choice, `None` where it was dropped.
    pub row_of_choice: Vec<Option<u32>>,
}

impl Dispatch {
    /// The plan for `experts: (N, K)`, chosen among `n_expert`, each of which takes at most `capacity` tokens.
    pub fn new(experts: &[u32], k: usize, n_expert: usize, capacity: Option<usize>) -> Self {
        let n = experts.len() / k.max(1);
        let mut counts = vec![0; n_expert];
        let mut places = vec![None; experts.len()]; // within the expert's rows
        for slot in (0..k).flat_map(|choice| (0..n).map(move |token| token * k + choice)) {
            let count = &mut counts[experts[slot] as usize];
            if capacity.is_none_or(|capacity| *count < capacity) {
                places[slot] = Some(*count as u32);
                *count += 1;
            }
        }
        let mut rows = 0;
        let mut starts = Vec::with_capacity(n_expert);
        for &count in &counts {
            starts.push(rows);
            rows += count as u32;
        }
        let mut tokens = vec![0; rows as usize];
        let positions: Vec<Option<u32>> = (places.iter().zip(experts).enumerate())
            .map(|(slot, (place, &expert))| {
                let row = starts[expert as usize] + (*place)?;
                tokens[row as usize] = (slot / k) as u32;
                Some(row)
            })
            .collect();
        Self { token_indices: tokens, rows_per_expert: counts, row_of_choice: positions }
    }

    /// Choices that found their expert full.
    pub fn n_dropped(&self) -> usize {
        self.row_of_choice.len() - self.token_indices.len()
    }
}

/// The tokens that an expert takes of N tokens with K choices each: the fair share times `factor`, and one at least.
pub fn expert_capacity(factor: f64, n: usize, k: usize, n_expert: usize) -> usize {
    let share = factor * (n * k) as f64 / n_expert.max(1) as f64;
    (share.ceil() as usize).max(1)
}
