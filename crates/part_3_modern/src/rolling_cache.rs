//! 3.6 The rolling cache with attention sinks (Xiao et al., <https://arxiv.org/abs/2309.17453>): fixed memory, endless
//! text.
//!
//! The last `size` tokens lie in a ring; the newest takes the place of the one that just left the window. The first
//! tokens of the text stay: softmax has to put its weight somewhere, models learn to put what they do not need on them,
//! and go astray when they vanish.
//!
//! Keys are stored turned by their position in the text. (The paper turns them anew by their place in the cache; then
//! they would no longer be those of the same text read under the same mask, which is what the tests compare with.)

use candle_core::{Result, Tensor};
use tensor_core::ops::AttentionMask;

use crate::config::SlidingWindow;

/// There is room for a whole window of so many tokens from the first on. A wider one, and a file may name any, gets its room
/// as the text grows.
const INITIAL_CAPACITY: usize = 4096;

/// The keys and values of one layer: those of the first `sinks` tokens and of the last `size`.
///
/// It writes into its own memory, so there is no `Clone`: two caches would write over each other.
#[derive(Debug)]
pub struct RollingCache {
    window: SlidingWindow,
    stored: Option<[Tensor; 2]>, // keys, values: (B, up to sinks + size, KV, D)
    n_tokens: usize,
}

impl RollingCache {
    /// An empty cache.
    pub fn new(window: SlidingWindow) -> Self {
        Self { window, stored: None, n_tokens: 0 }
    }

    /// Tokens held.
    pub fn len(&self) -> usize {
        self.n_tokens.min(self.window.cache_len())
    }

    /// Whether it holds none.
    pub fn is_empty(&self) -> bool {
        self.n_tokens == 0
    }

    /// Takes the keys and values of T new tokens, `(B, T, KV, D)` each, and gives those that they may see.
    ///
    /// One token sees all it is given. More than one are given what was stored, oldest first, then themselves; which
    /// of these each sees is `window`'s mask, the first of them standing after the stored ones.
    ///
    /// # Errors
    /// When the shapes differ from those before.
    pub fn extend(&mut self, new: [&Tensor; 2]) -> Result<[Tensor; 2]> {
        let (b, t, kv, d) = new[0].dims4()?;
        let needed = self.window.cache_len().min(self.n_tokens + t);
        let stored = match &self.stored {
            Some(stored) if needed <= stored[0].dim(1)? => stored.clone(), // the same memory
            before => {
                let room =
                    needed.next_power_of_two().max(INITIAL_CAPACITY).min(self.window.cache_len());
                let more = Tensor::zeros((b, room, kv, d), new[0].dtype(), new[0].device())?;
                let more = [more.copy()?, more];
                for (more, before) in more.iter().zip(before.iter().flatten()) {
                    more.slice_set(before, 1, 0)?; // not full yet, so that nothing has moved
                }
                more
            }
        };
        let before = match t {
            1 => None,
            _ => Some([self.in_order(&stored[0])?, self.in_order(&stored[1])?]),
        };
        for (stored, new) in stored.iter().zip(new) {
            self.write_ring(stored, new)?;
        }
        self.n_tokens += t;
        let len = self.len();
        let seen = match before {
            None => [stored[0].narrow(1, 0, len)?, stored[1].narrow(1, 0, len)?],
            Some([keys, values]) => {
                [Tensor::cat(&[&keys, new[0]], 1)?, Tensor::cat(&[&values, new[1]], 1)?]
            }
        };
        self.stored = Some(stored);
        Ok(seen)
    }

    /// Which of the keys that several tokens are given each of them sees.
    pub fn mask(&self) -> AttentionMask {
        self.window.mask().with_offset(self.len())
    }

    /// Writes those of the new tokens that the next one will see.
    fn write_ring(&self, stored: &Tensor, new: &Tensor) -> Result<()> {
        let SlidingWindow { size, sinks } = self.window;
        let end = self.n_tokens + new.dim(1)?;
        let near = sinks.max(end.saturating_sub(size)); // where the window begins
        let mut at = self.n_tokens;
        while at < end {
            // A run of tokens whose places follow each other.
            let (place, run_end) = match at {
                _ if at < sinks => (at, sinks),
                _ if at < near => {
                    at = near;
                    continue;
                }
                _ => {
                    let place = (at - sinks) % size;
                    (sinks + place, at.saturating_add(size - place))
                }
            };
            let run = run_end.min(end) - at;
            stored.slice_set(&new.narrow(1, at - self.n_tokens, run)?.contiguous()?, 1, place)?;
            at += run;
        }
        Ok(())
    }

    /// What is stored, oldest first: a copy, (B, len, KV, D).
    fn in_order(&self, stored: &Tensor) -> Result<Tensor> {
        let SlidingWindow { size, sinks } = self.window;
        let (len, room) = (self.len(), self.window.cache_len());
        if self.n_tokens <= room {
            return stored.narrow(1, 0, len)?.copy();
        }
        let oldest = (self.n_tokens - sinks) % size; // its place is the next to be taken
        let parts = [
            stored.narrow(1, 0, sinks)?,
            stored.narrow(1, sinks + oldest, size - oldest)?,
            stored.narrow(1, sinks, oldest)?,
        ];
        let parts: Vec<&Tensor> = parts.iter().filter(|part| part.elem_count() > 0).collect();
        match parts[..] {
            [one] => one.copy(), // `cat` of one tensor is that tensor, which is about to change
            _ => Tensor::cat(&parts, 1),
        }
    }

    /// Forgets everything.
    pub fn clear(&mut self) {
        self.n_tokens = 0;
    }

    /// Memory held.
    pub fn size_in_bytes(&self) -> usize {
        self.stored.iter().flatten().map(|x| x.elem_count() * x.dtype().size_in_bytes()).sum()
    }
}
