//! 2.2 Batches: random windows of the text, and the same windows one token later as targets.
//!
//! tokens   the cat sat
//! inputs   the cat sa
//! targets  he cat sat      at every position the model predicts what comes next

use std::path::Path;

use anyhow::{Context, Result, ensure};
use candle_core::{Device, Tensor};
use tensor_core::Rng;

use crate::ByteTokenizer;

/// A text as tokens, cut into a part to learn from and a held-out part to measure on.
#[derive(Debug, Clone)]
pub struct ByteCorpus {
    /// The first nine tenths.
    pub train: Vec<u32>,
    /// The last tenth.
    pub validation: Vec<u32>,
}

impl ByteCorpus {
    /// Reads the bytes of a file, whatever they are.
    ///
    /// # Errors
    /// When the file cannot be read, or is empty.
    pub fn open(path: &Path) -> Result<Self> {
        let bytes = std::fs::read(path).with_context(|| format!("reading {}", path.display()))?;
        ensure!(!bytes.is_empty(), "{} is empty", path.display());
        Ok(Self::from_bytes(&bytes))
    }

    /// Splits `text` into its first nine tenths and the rest.
    pub fn from_bytes(text: &[u8]) -> Self {
        let mut train = ByteTokenizer.encode(text);
        let validation = train.split_off(text.len() * 9 / 10);
        Self { train, validation }
    }

    /// # Errors
    /// When a part is too short for a single window of `block_size` tokens and its target.
    pub fn ensure_fits_context(&self, block_size: usize) -> Result<()> {
        for (name, part) in [("training", &self.train), ("validation", &self.validation)] {
            let n = part.len();
            ensure!(
                n > block_size,
                "the {name} part has {n} tokens, but a window needs block size + 1 = {}; \
                 use a longer text or a smaller --context-len",
                block_size + 1
            );
        }
        Ok(())
    }
}

/// Windows of text and what follows each of their tokens.
#[derive(Debug, Clone)]
pub struct Batch {
    /// (B, T), u32
    pub inputs: Tensor,
    /// (B, T), i64: the token after each input.
    pub targets: Tensor,
}

impl Batch {
    /// The windows of `t` tokens that begin at `starts`.
    ///
    /// # Errors
    /// When a window and its last target do not fit into `tokens`.
    pub fn from_starts(
        tokens: &[u32],
        starts: &[usize],
        t: usize,
        device: &Device,
    ) -> Result<Self> {
        let mut inputs = Vec::with_capacity(starts.len() * t);
        let mut targets = Vec::with_capacity(starts.len() * t);
        for &start in starts {
            let window = tokens.get(start..=start + t).context("a window passes the end")?;
            inputs.extend_from_slice(&window[..t]);
            targets.extend(window[1..].iter().map(|&token| i64::from(token)));
        }
        let shape = (starts.len(), t);
        Ok(Self {
            inputs: Tensor::from_vec(inputs, shape, device)?,
            targets: Tensor::from_vec(targets, shape, device)?,
        })
    }

    /// `b` random windows of `t` tokens; each start that leaves room for a whole window is equally likely.
    ///
    /// # Errors
    /// When `tokens` is not longer than `t`.
    pub fn random(
        tokens: &[u32],
        b: usize,
        t: usize,
        rng: &mut Rng,
        device: &Device,
    ) -> Result<Self> {
        ensure!(tokens.len() > t, "{} tokens are too few for a window of {t}", tokens.len());
        let starts: Vec<usize> = (0..b).map(|_| rng.below(tokens.len() - t)).collect();
        Self::from_starts(tokens, &starts, t, device)
    }

    /// Consecutive windows that predict every token of `tokens` but the first exactly once, `b` windows at a time;
    /// the last batch may be smaller, and a last window shorter.
    pub fn consecutive<'a>(
        tokens: &'a [u32],
        b: usize,
        t: usize,
        device: &'a Device,
    ) -> impl Iterator<Item = Result<Self>> + 'a {
        let targets = tokens.len().saturating_sub(1);
        let whole = targets / t;
        let batches = (0..whole).step_by(b).map(move |first| {
            let starts: Vec<usize> = (first..whole.min(first + b)).map(|i| i * t).collect();
            Self::from_starts(tokens, &starts, t, device)
        });
        let rest = (!targets.is_multiple_of(t))
            .then(|| Self::from_starts(tokens, &[whole * t], targets % t, device));
        batches.chain(rest)
    }
}
