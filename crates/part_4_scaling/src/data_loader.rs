//! Data: windows in random order, each once an epoch, from any place on.
//!
//! The tokens are cut into windows of T that touch each other, so that in an epoch every token is predicted exactly once (but
//! the very first, which nothing precedes). Each epoch has an order of its own, which follows from the seed and the
//! epoch's number; a [`Cursor`] of two numbers is therefore enough to go on where a run stopped.

use anyhow::{Result, ensure};
use candle_core::{Device, Tensor};
use serde::{Deserialize, Serialize};
use tensor_core::Rng;
use tensor_core::ops::IGNORE_INDEX;
use tiny_gpt::Batch;

use crate::TokenFile;

/// How far the data has been read.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LoaderState {
    /// Times that all of it has been read.
    pub epoch: u64,
    /// Windows read since.
    pub window: usize,
}

/// The windows of a file of tokens in the order of training.
#[derive(Debug)]
pub struct DataLoader<'a> {
    tokens: &'a TokenFile,
    /// T
    context_len: usize,
    seed: u64,
    /// The order of one epoch.
    epoch_order: (u64, Vec<u32>),
}

impl<'a> DataLoader<'a> {
    /// Windows of `block_size` tokens.
    ///
    /// # Errors
    /// When there are not two tokens: nothing to predict.
    pub fn new(tokens: &'a TokenFile, block_size: usize, seed: u64) -> Result<Self> {
        ensure!(tokens.len() > 1, "{} tokens are too few to predict any", tokens.len());
        let mut windows =
            Self { tokens, context_len: block_size, seed, epoch_order: (0, Vec::new()) };
        windows.epoch_order = (0, windows.permutation(0));
        Ok(windows)
    }

    /// How many windows an epoch has.
    pub fn n_windows(&self) -> usize {
        (self.tokens.len() - 1).div_ceil(self.context_len)
    }

    /// The next `b` windows, and the cursor moves on. A window at the end of the tokens may be short; what it lacks are no
    /// targets.
    ///
    /// # Errors
    /// When the tokens are damaged.
    pub fn next_batch(
        &mut self,
        cursor: &mut LoaderState,
        b: usize,
        device: &Device,
    ) -> Result<Batch> {
        let t = self.context_len;
        let (mut inputs, mut targets) = (Vec::with_capacity(b * t), Vec::with_capacity(b * t));
        for _ in 0..b {
            let start = self.next_window_index(cursor) * t;
            let window = self.tokens.read(start..self.tokens.len().min(start + t + 1))?;
            let real = window.len() - 1;
            inputs.extend_from_slice(&window[..real]);
            inputs.resize(inputs.len() + t - real, 0);
            targets.extend(window[1..].iter().map(|&token| i64::from(token)));
            targets.resize(targets.len() + t - real, IGNORE_INDEX);
        }
        Ok(Batch {
            inputs: Tensor::from_vec(inputs, (b, t), device)?,
            targets: Tensor::from_vec(targets, (b, t), device)?,
        })
    }

    /// The number of the next window.
    fn next_window_index(&mut self, cursor: &mut LoaderState) -> usize {
        if cursor.window >= self.n_windows() {
            *cursor = LoaderState { epoch: cursor.epoch + 1, window: 0 };
        }
        if self.epoch_order.0 != cursor.epoch {
            self.epoch_order = (cursor.epoch, self.permutation(cursor.epoch));
        }
        cursor.window += 1;
        self.epoch_order.1[cursor.window - 1] as usize
    }

    fn permutation(&self, epoch: u64) -> Vec<u32> {
        let mut order: Vec<u32> = (0..self.n_windows() as u32).collect();
        Rng::new(self.seed.wrapping_add(epoch.wrapping_mul(0x9e37_79b9_7f4a_7c15)))
            .shuffle(&mut order);
        order
    }
}
