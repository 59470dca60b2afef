//! 2.2 Batches: random windows of the text as inputs, and the same windows shifted by one token as
//! targets.
//!
//! ```text
//! tokens   the cat sat
//! inputs   the cat sa
//! targets  he cat sat      at every position the model predicts the next token
//! ```

use std::ops::Range;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use candle_core::{Device, Tensor};
use tensor_core::Rng;

use crate::ByteTokenizer;

/// Byte tokens of a text, split into a training and a validation part.
#[derive(Debug, Clone)]
pub struct ByteCorpus {
    /// First nine tenths of the text.
    pub train: Vec<u32>,
    /// Last tenth of the text.
    pub validation: Vec<u32>,
}

impl ByteCorpus {
    /// Reads the bytes of a file; they need not be valid UTF-8.
    ///
    /// # Errors
    /// When the file cannot be read, or is empty.
    pub fn open(path: &Path) -> Result<Self> {
        let bytes = std::fs::read(path).with_context(|| format!("reading {}", path.display()))?;
        ensure!(!bytes.is_empty(), "{} is empty", path.display());
        Ok(Self::from_bytes(&bytes))
    }

    /// Splits `text`: the first nine tenths for training, the rest for validation.
    pub fn from_bytes(text: &[u8]) -> Self {
        let mut train = ByteTokenizer.encode(text);
        let validation = train.split_off(text.len() * 9 / 10);
        Self { train, validation }
    }

    /// Checks that each part holds at least one window of `context_len` tokens and its last target.
    ///
    /// # Errors
    /// When a part is too short.
    pub fn ensure_fits_context(&self, context_len: usize) -> Result<()> {
        for (name, part) in [("training", &self.train), ("validation", &self.validation)] {
            let n = part.len();
            ensure!(
                n > context_len,
                "the {name} part has {n} tokens, but a window needs context length + 1 = {}; \
                 use a longer text or a smaller --context-len",
                context_len + 1
            );
        }
        Ok(())
    }
}

/// Batch of token windows and their next-token targets.
#[derive(Debug, Clone)]
pub struct Batch {
    /// Input tokens (B, T), u32.
    pub inputs: Tensor,
    /// Targets (B, T), i64: the token after each input.
    pub targets: Tensor,
}

impl Batch {
    /// Batch of the windows of `t` tokens that begin at `starts`.
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
            let window = tokens
                .get(start..=start + t)
                .context("a window extends past the end of the text")?;
            inputs.extend_from_slice(&window[..t]);
            targets.extend(window[1..].iter().map(|&token| i64::from(token)));
        }
        let shape = (starts.len(), t);
        Ok(Self {
            inputs: Tensor::from_vec(inputs, shape, device)?,
            targets: Tensor::from_vec(targets, shape, device)?,
        })
    }

    /// Batch of some of the `rows`; `None` without a row.
    ///
    /// # Errors
    /// When there are fewer rows.
    pub fn rows(&self, rows: Range<usize>) -> Result<Option<Self>> {
        let of = |tensor: &Tensor| tensor.narrow(0, rows.start, rows.len());
        let batch = || Ok(Self { inputs: of(&self.inputs)?, targets: of(&self.targets)? });
        (!rows.is_empty()).then(batch).transpose()
    }

    /// Batch of `b` random windows of `t` tokens. Each start that leaves room for a whole window is
    /// equally likely.
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
        ensure!(tokens.len() > t, "too few tokens ({}) for a window of {t}", tokens.len());
        let starts: Vec<usize> = (0..b).map(|_| rng.below(tokens.len() - t)).collect();
        Self::from_starts(tokens, &starts, t, device)
    }

    /// Batches of consecutive windows that predict every token of `tokens` but the first exactly
    /// once, `b` windows per batch. The last batch may be smaller and the last window shorter.
    pub fn consecutive<'a>(
        tokens: &'a [u32],
        b: usize,
        t: usize,
        device: &'a Device,
    ) -> impl Iterator<Item = Result<Self>> + 'a {
        let n_targets = tokens.len().saturating_sub(1);
        let n_windows = n_targets / t;
        let batches = (0..n_windows).step_by(b).map(move |first| {
            let starts: Vec<usize> = (first..n_windows.min(first + b)).map(|i| i * t).collect();
            Self::from_starts(tokens, &starts, t, device)
        });
        let short_window = (!n_targets.is_multiple_of(t))
            .then(|| Self::from_starts(tokens, &[n_windows * t], n_targets % t, device));
        batches.chain(short_window)
    }
}
