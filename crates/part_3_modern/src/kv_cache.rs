//! 3.4 The KV cache: what a token offers to those after it never changes, so it is computed once and kept.
//!
//! Without it, writing token n costs a pass over n tokens; with it, a pass over one. The price is memory: keys and values
//! of every token in every layer, 2 · B · T · KV · D numbers per layer.

use candle_core::{Result, Tensor};

/// The keys and values of one layer, as many as there are tokens.
///
/// It writes into its own memory, so there is no `Clone`: two caches would write over each other.
#[derive(Debug, Default)]
pub struct KvCache {
    stored: Option<[Tensor; 2]>, // keys, values: (B, room, KV, D)
    len: usize,
}

impl KvCache {
    /// Tokens held.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether it holds none.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Takes the keys and values of new tokens, `(B, T, KV, D)` each, and gives those of all tokens so far, as views of
    /// its own memory: (B, len, KV, D).
    ///
    /// # Errors
    /// When the shapes differ from those before.
    pub fn extend(&mut self, new: [&Tensor; 2]) -> Result<[Tensor; 2]> {
        let (b, t, kv, d) = new[0].dims4()?;
        let len = self.len + t;
        let stored = match &self.stored {
            Some(stored) if len <= stored[0].dim(1)? => stored.clone(), // the same memory
            before => {
                let room = capacity_for(len);
                let more = Tensor::zeros((b, room, kv, d), new[0].dtype(), new[0].device())?;
                let more = [more.copy()?, more];
                if let Some(before) = before {
                    for (more, before) in more.iter().zip(before) {
                        more.slice_set(&before.narrow(1, 0, self.len)?.contiguous()?, 1, 0)?;
                    }
                }
                more
            }
        };
        for (stored, new) in stored.iter().zip(new) {
            stored.slice_set(&new.contiguous()?, 1, self.len)?;
        }
        let all = [stored[0].narrow(1, 0, len)?, stored[1].narrow(1, 0, len)?];
        (self.stored, self.len) = (Some(stored), len);
        Ok(all)
    }

    /// The same with every row `n` times, side by side, in memory of its own.
    ///
    /// # Errors
    /// When memory is short.
    pub fn expand(&self, n: usize) -> Result<Self> {
        let Some(stored) = self.stored.as_ref().filter(|_| self.len > 0) else {
            return Ok(Self::default());
        };
        let (len, room) = (self.len, capacity_for(self.len + 1)); // there is one to come
        let repeat = |x: &Tensor| -> Result<Tensor> {
            let (b, _, kv, d) = x.dims4()?;
            let more = Tensor::zeros((b * n, room, kv, d), x.dtype(), x.device())?;
            let x = x.narrow(1, 0, len)?.unsqueeze(1)?.broadcast_as((b, n, len, kv, d))?;
            more.slice_set(&x.contiguous()?.reshape((b * n, len, kv, d))?, 1, 0)?;
            Ok(more)
        };
        let [keys, values] = stored;
        Ok(Self { stored: Some([repeat(keys)?, repeat(values)?]), len })
    }

    /// Forgets all tokens but the first `len`.
    pub fn truncate(&mut self, len: usize) {
        self.len = self.len.min(len);
    }

    /// Memory held.
    pub fn size_in_bytes(&self) -> usize {
        self.stored.iter().flatten().map(|x| x.elem_count() * x.dtype().size_in_bytes()).sum()
    }
}

/// Tokens that there is made room for when `len` are held: doubled when it is full, so that each token is moved a few times at most.
fn capacity_for(len: usize) -> usize {
    len.next_power_of_two().max(32)
}
