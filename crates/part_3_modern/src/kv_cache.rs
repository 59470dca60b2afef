//! 3.4 KV cache: the keys and values of past tokens never change, so they are computed once and
//! stored.
//!
//! Without a cache, generating token n costs a forward pass over n tokens; with it, a pass over
//! one. The cost is memory: 2 · B · T · KV · D numbers per layer.

use candle_core::{Result, Tensor};

/// Keys and values of one layer for all tokens so far.
///
/// Not `Clone`: the cache writes into its tensors in place, so two clones would overwrite each
/// other.
#[derive(Debug, Default)]
pub struct KvCache {
    stored: Option<[Tensor; 2]>, // keys, values: (B, capacity, KV, D)
    len: usize,
}

impl KvCache {
    /// Number of cached tokens.
    pub fn len(&self) -> usize {
        self.len
    }

    /// True if no token is cached.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    // ANCHOR: extend
    /// Appends the keys and values of new tokens, `(B, T, KV, D)` each. Returns those of all tokens
    /// so far as views of the cache: (B, len, KV, D).
    ///
    /// # Errors
    /// When the shapes differ from those of earlier calls.
    pub fn extend(&mut self, new: [&Tensor; 2]) -> Result<[Tensor; 2]> {
        let (b, t, kv, d) = new[0].dims4()?;
        let len = self.len + t;
        let stored = match &self.stored {
            Some(stored) if len <= stored[0].dim(1)? => stored.clone(), // the same memory
            old => {
                let capacity = capacity_for(len);
                let grown = Tensor::zeros((b, capacity, kv, d), new[0].dtype(), new[0].device())?;
                let grown = [grown.copy()?, grown];
                if let Some(old) = old {
                    for (grown, old) in grown.iter().zip(old) {
                        grown.slice_set(&old.narrow(1, 0, self.len)?.contiguous()?, 1, 0)?;
                    }
                }
                grown
            }
        };
        for (stored, new) in stored.iter().zip(new) {
            stored.slice_set(&new.contiguous()?, 1, self.len)?;
        }
        let all = [stored[0].narrow(1, 0, len)?, stored[1].narrow(1, 0, len)?];
        (self.stored, self.len) = (Some(stored), len);
        Ok(all)
    }
    // ANCHOR_END: extend

    /// Copy with every batch row repeated `n` times, adjacent to each other: (B · n, len, KV, D).
    ///
    /// # Errors
    /// When the allocation fails.
    pub fn repeat_interleave(&self, n: usize) -> Result<Self> {
        let Some(stored) = self.stored.as_ref().filter(|_| self.len > 0) else {
            return Ok(Self::default());
        };
        let (len, capacity) = (self.len, capacity_for(self.len + 1)); // room for the next token
        let repeat = |x: &Tensor| -> Result<Tensor> {
            let (b, _, kv, d) = x.dims4()?;
            let expanded = Tensor::zeros((b * n, capacity, kv, d), x.dtype(), x.device())?;
            let x = x.narrow(1, 0, len)?.unsqueeze(1)?.broadcast_as((b, n, len, kv, d))?;
            expanded.slice_set(&x.contiguous()?.reshape((b * n, len, kv, d))?, 1, 0)?;
            Ok(expanded)
        };
        let [keys, values] = stored;
        Ok(Self { stored: Some([repeat(keys)?, repeat(values)?]), len })
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

    /// Truncates the cache to the first `len` tokens.
    pub fn truncate(&mut self, len: usize) {
        self.len = self.len.min(len);
    }

    /// Allocated memory in bytes.
    pub fn size_in_bytes(&self) -> usize {
        self.stored.iter().flatten().map(|x| x.elem_count() * x.dtype().size_in_bytes()).sum()
    }
}

/// Capacity in tokens for `len` cached ones. Doubling it when full keeps the number of copies per
/// token small.
fn capacity_for(len: usize) -> usize {
    len.next_power_of_two().max(32)
}
