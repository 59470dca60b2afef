//! 5.2 Dispatch: the permutation that sorts tokens by expert, so that each expert's rows are
//! contiguous, and its inverse.
//!
//! ```text
//! experts of tokens 0 1 2 3      2 0 2 1
//! token of each row              1 | 3 | 0 2       sorted by expert; rows per expert 1 1 2
//! row of tokens 0 1 2 3          2 0 3 1           the inverse
//! ```
//!
//! With an expert capacity, a full expert drops further assignments. Second choices are dropped
//! before first ones and later tokens before earlier ones (GShard, Lepikhin et al.,
//! <https://arxiv.org/abs/2006.16668>, algorithm 1). A token that all its experts drop passes
//! through the residual connection only.

/// Permutation of token assignments into rows sorted by expert.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dispatch {
    /// Token index of each row.
    pub token_indices: Vec<u32>,
    /// Number of rows of each expert.
    pub rows_per_expert: Vec<usize>,
    /// Row of each assignment (N, K), `None` if it was dropped.
    pub row_of_choice: Vec<Option<u32>>,
}

impl Dispatch {
    /// Dispatch of the selected experts `experts: (N, K)` of `n_expert`, each of which takes at
    /// most `capacity` tokens.
    pub fn new(experts: &[u32], k: usize, n_expert: usize, capacity: Option<usize>) -> Self {
        let n = experts.len() / k.max(1);
        let mut counts = vec![0; n_expert];
        let mut row_in_expert = vec![None; experts.len()];
        for slot in (0..k).flat_map(|rank| (0..n).map(move |token| token * k + rank)) {
            let count = &mut counts[experts[slot] as usize];
            if capacity.is_none_or(|capacity| *count < capacity) {
                row_in_expert[slot] = Some(*count as u32);
                *count += 1;
            }
        }
        let mut n_rows = 0;
        let mut starts = Vec::with_capacity(n_expert);
        for &count in &counts {
            starts.push(n_rows);
            n_rows += count as u32;
        }
        let mut token_indices = vec![0; n_rows as usize];
        let row_of_choice: Vec<Option<u32>> = (row_in_expert.iter().zip(experts).enumerate())
            .map(|(slot, (row_in_expert, &expert))| {
                let row = starts[expert as usize] + (*row_in_expert)?;
                token_indices[row as usize] = (slot / k) as u32;
                Some(row)
            })
            .collect();
        Self { token_indices, rows_per_expert: counts, row_of_choice }
    }

    /// Number of assignments dropped because their expert was full.
    pub fn n_dropped(&self) -> usize {
        self.row_of_choice.len() - self.token_indices.len()
    }
}

/// Expert capacity in tokens: the mean load N K / E times `factor`, rounded up, and at least 1.
pub fn expert_capacity(factor: f64, n: usize, k: usize, n_expert: usize) -> usize {
    let capacity = factor * (n * k) as f64 / n_expert.max(1) as f64;
    (capacity.ceil() as usize).max(1)
}
