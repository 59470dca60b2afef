//! Data: windows of tokens in random order, each once per epoch, resumable at any window.
//!
//! The tokens are cut into adjacent windows of T, so an epoch predicts every token exactly once
//! (except the very first, which has no context). The order of each epoch follows from the seed and
//! the epoch's number. A [`LoaderState`] of two numbers is therefore enough to resume.

use anyhow::{Result, ensure};
use candle_core::{Device, Tensor};
use datasets::TokenFile;
use serde::{Deserialize, Serialize};
use tensor_core::Rng;
use tensor_core::ops::IGNORE_INDEX;
use tiny_gpt::Batch;

/// Position in the data: epoch and window.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LoaderState {
    /// Number of completed epochs.
    pub epoch: u64,
    /// Windows read in the current epoch.
    pub window: usize,
}

/// Loader of the windows of a token file, in training order.
#[derive(Debug)]
pub struct DataLoader<'a> {
    tokens: &'a TokenFile,
    /// Window length T.
    context_len: usize,
    seed: u64,
    /// Epoch and the order of its windows.
    epoch_order: (u64, Vec<u32>),
}

impl<'a> DataLoader<'a> {
    /// Loader of windows of `context_len` tokens, shuffled by `seed`.
    ///
    /// # Errors
    /// When there are fewer than two tokens, so there is nothing to predict.
    pub fn new(tokens: &'a TokenFile, context_len: usize, seed: u64) -> Result<Self> {
        ensure!(
            tokens.len() > 1,
            "too few tokens ({}): a prediction needs at least 2",
            tokens.len()
        );
        let mut data_loader = Self { tokens, context_len, seed, epoch_order: (0, Vec::new()) };
        data_loader.epoch_order = (0, data_loader.permutation(0));
        Ok(data_loader)
    }

    /// Number of windows per epoch.
    pub fn n_windows(&self) -> usize {
        (self.tokens.len() - 1).div_ceil(self.context_len)
    }

    /// Next `b` windows as a batch (B, T); advances `loader_state`. The last window of the file may
    /// be short; it is padded, and the padding is ignored by the loss.
    ///
    /// # Errors
    /// When the tokens are damaged.
    pub fn next_batch(
        &mut self,
        loader_state: &mut LoaderState,
        b: usize,
        device: &Device,
    ) -> Result<Batch> {
        let t = self.context_len;
        let (mut inputs, mut targets) = (Vec::with_capacity(b * t), Vec::with_capacity(b * t));
        for _ in 0..b {
            let start = self.next_window_index(loader_state) * t;
            let window = self.tokens.read(start..self.tokens.len().min(start + t + 1))?;
            let n_targets = window.len() - 1;
            inputs.extend_from_slice(&window[..n_targets]);
            inputs.resize(inputs.len() + t - n_targets, 0);
            targets.extend(window[1..].iter().map(|&token| i64::from(token)));
            targets.resize(targets.len() + t - n_targets, IGNORE_INDEX);
        }
        Ok(Batch {
            inputs: Tensor::from_vec(inputs, (b, t), device)?,
            targets: Tensor::from_vec(targets, (b, t), device)?,
        })
    }

    /// Index of the next window in the file; advances `state`.
    fn next_window_index(&mut self, state: &mut LoaderState) -> usize {
        if state.window >= self.n_windows() {
            *state = LoaderState { epoch: state.epoch + 1, window: 0 };
        }
        if self.epoch_order.0 != state.epoch {
            self.epoch_order = (state.epoch, self.permutation(state.epoch));
        }
        state.window += 1;
        self.epoch_order.1[state.window - 1] as usize
    }

    /// Order of the windows in `epoch`.
    fn permutation(&self, epoch: u64) -> Vec<u32> {
        let mut order: Vec<u32> = (0..self.n_windows() as u32).collect();
        Rng::new(self.seed.wrapping_add(epoch.wrapping_mul(0x9e37_79b9_7f4a_7c15)))
            .shuffle(&mut order);
        order
    }
}
