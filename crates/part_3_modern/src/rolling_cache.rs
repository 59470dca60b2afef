//! 3.6 Rolling KV cache with attention sinks (Xiao et al., <https://arxiv.org/abs/2309.17453>):
//! constant memory for text of any length.
//!
//! A ring buffer holds the last `size` tokens; the newest overwrites the one that just left the
//! window. The first tokens of the text (sinks) stay. Attention weights must sum to 1, models learn
//! to put the excess on the first tokens, and their output degrades when these are evicted.
//!
//! Keys are stored after RoPE at their position in the text. (The paper rotates them by their
//! position in the cache. The results would then differ from a forward pass over the whole text
//! under the same mask, which the tests compare with.)

use candle_core::{Result, Tensor};
use model_io::config::SlidingWindow;
use tensor_core::ops::AttentionMask;

use crate::sliding_window::cache_len;

/// Initial capacity in tokens. A window up to this size is allocated at once; a larger one, since a
/// file may request any size, grows with the text.
const INITIAL_CAPACITY: usize = 4096;

/// Keys and values of one layer for the first `sinks` and the last `size` tokens.
///
/// Not `Clone`: the cache writes into its tensors in place, so two clones would overwrite each
/// other.
#[derive(Debug)]
pub struct RollingCache {
    window: SlidingWindow,
    stored: Option<[Tensor; 2]>, // keys, values: (B, up to sinks + size, KV, D)
    n_tokens: usize,
}

impl RollingCache {
    /// Creates an empty cache.
    pub fn new(window: SlidingWindow) -> Self {
        Self { window, stored: None, n_tokens: 0 }
    }

    /// Number of cached tokens.
    pub fn len(&self) -> usize {
        self.n_tokens.min(cache_len(self.window))
    }

    /// True if no token is cached.
    pub fn is_empty(&self) -> bool {
        self.n_tokens == 0
    }

    /// Appends the keys and values of T new tokens, `(B, T, KV, D)` each. Returns those that the
    /// new tokens may attend to.
    ///
    /// A single token attends to everything returned. With several, the result is the cached
    /// tokens, oldest first, followed by the new ones, to be masked with [`Self::mask`] as it was
    /// before the call.
    ///
    /// # Errors
    /// When the shapes differ from those of earlier calls.
    pub fn extend(&mut self, new: [&Tensor; 2]) -> Result<[Tensor; 2]> {
        let (b, t, kv, d) = new[0].dims4()?;
        let needed = cache_len(self.window).min(self.n_tokens + t);
        let stored = match &self.stored {
            Some(stored) if needed <= stored[0].dim(1)? => stored.clone(), // the same memory
            old => {
                let capacity =
                    needed.next_power_of_two().max(INITIAL_CAPACITY).min(cache_len(self.window));
                let grown = Tensor::zeros((b, capacity, kv, d), new[0].dtype(), new[0].device())?;
                let grown = [grown.copy()?, grown];
                for (grown, old) in grown.iter().zip(old.iter().flatten()) {
                    grown.slice_set(old, 1, 0)?; // the ring has not wrapped yet: same order
                }
                grown
            }
        };
        let cached = match t {
            1 => None,
            _ => Some([self.in_order(&stored[0])?, self.in_order(&stored[1])?]),
        };
        for (stored, new) in stored.iter().zip(new) {
            self.write_ring(stored, new)?;
        }
        self.n_tokens += t;
        let len = self.len();
        let visible = match cached {
            None => [stored[0].narrow(1, 0, len)?, stored[1].narrow(1, 0, len)?],
            Some([keys, values]) => {
                [Tensor::cat(&[&keys, new[0]], 1)?, Tensor::cat(&[&values, new[1]], 1)?]
            }
        };
        self.stored = Some(stored);
        Ok(visible)
    }

    /// Attention mask for several new tokens over the cached tokens and themselves.
    pub fn mask(&self) -> AttentionMask {
        self.window.mask().with_offset(self.len())
    }

    /// Writes the new tokens that the next token can attend to into the ring.
    fn write_ring(&self, stored: &Tensor, new: &Tensor) -> Result<()> {
        let SlidingWindow { size, sinks } = self.window;
        let end = self.n_tokens + new.dim(1)?;
        let window_start = sinks.max(end.saturating_sub(size));
        let mut at = self.n_tokens;
        while at < end {
            // A run of tokens with consecutive slots.
            let (slot, run_end) = match at {
                _ if at < sinks => (at, sinks),
                _ if at < window_start => {
                    at = window_start;
                    continue;
                }
                _ => {
                    let slot = (at - sinks) % size;
                    (sinks + slot, at.saturating_add(size - slot))
                }
            };
            let run = run_end.min(end) - at;
            stored.slice_set(&new.narrow(1, at - self.n_tokens, run)?.contiguous()?, 1, slot)?;
            at += run;
        }
        Ok(())
    }

    /// Copy of the cached tokens, oldest first: (B, len, KV, D).
    fn in_order(&self, stored: &Tensor) -> Result<Tensor> {
        let SlidingWindow { size, sinks } = self.window;
        let (len, capacity) = (self.len(), cache_len(self.window));
        if self.n_tokens <= capacity {
            return stored.narrow(1, 0, len)?.copy();
        }
        let oldest = (self.n_tokens - sinks) % size; // the slot that is overwritten next
        let parts = [
            stored.narrow(1, 0, sinks)?,
            stored.narrow(1, sinks + oldest, size - oldest)?,
            stored.narrow(1, sinks, oldest)?,
        ];
        let parts: Vec<&Tensor> = parts.iter().filter(|part| part.elem_count() > 0).collect();
        match parts[..] {
            [part] => part.copy(), // `cat` of one tensor would share memory that is about to change
            _ => Tensor::cat(&parts, 1),
        }
    }

    /// Keeps the batch rows `rows: (R)` alone, in this order.
    ///
    /// # Errors
    /// When a row is missing, or the allocation fails.
    pub fn keep_rows(&mut self, rows: &Tensor) -> Result<()> {
        if let Some([keys, values]) = &self.stored {
            self.stored = Some([keys.index_select(rows, 0)?, values.index_select(rows, 0)?]);
        }
        Ok(())
    }

    /// True if no token has been overwritten: the text does not exceed the window and the sinks.
    pub fn has_all_tokens(&self) -> bool {
        self.n_tokens <= cache_len(self.window)
    }

    /// Truncates the cache to the first `len` tokens, or to none if some of them may have been
    /// overwritten.
    pub fn truncate(&mut self, len: usize) {
        self.n_tokens = if self.has_all_tokens() { self.n_tokens.min(len) } else { 0 };
    }

    /// Allocated memory in bytes.
    pub fn size_in_bytes(&self) -> usize {
        self.stored.iter().flatten().map(|x| x.elem_count() * x.dtype().size_in_bytes()).sum()
    }
}
