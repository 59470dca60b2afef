//! 6.2 Batches: short examples beside each other, filled up on the right, or packed one behind the other.
//!
//! Padding on the right needs no mask, as no token sees what comes after it, and its labels are none. Packing fills rows
//! without padding; then attention must stay within an example (a block-diagonal mask) and positions start anew, or the
//! loss is that of another text.

use candle_core::{DType, Device, Result, Tensor};
use modern::{AttentionContext, GptModern};
use tensor_core::ops::{IGNORE_INDEX, cross_entropy};

use crate::TokenizedExample;

/// Examples as the model reads them.
#[derive(Debug, Clone)]
pub struct SftBatch {
    /// (B, T)
    pub inputs: Tensor,
    /// The places among the B · T at which something is learned: (N)
    pub target_positions: Tensor,
    /// What is learned there: (N), i64
    pub targets: Tensor,
    /// Number of each token's example in its row, from 1 on; padding is 0.
    pub segment_ids: Vec<Vec<u32>>,
    layout: Layout,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Layout {
    Padded,
    Packed,
}

impl SftBatch {
    /// An example a row.
    ///
    /// # Errors
    /// When memory is short.
    pub fn padded(examples: &[TokenizedExample], device: &Device) -> Result<Self> {
        let rows: Vec<Vec<&TokenizedExample>> =
            examples.iter().map(|example| vec![example]).collect();
        Self::from_rows(&rows, Layout::Padded, device)
    }

    /// Several examples a row, each row at most `width` inputs long (a longer example has a row of its own): every example
    /// goes into the first row with room, the longest first.
    ///
    /// # Errors
    /// When memory is short.
    pub fn packed(examples: &[TokenizedExample], width: usize, device: &Device) -> Result<Self> {
        let mut order: Vec<&TokenizedExample> = examples.iter().collect();
        order.sort_by_key(|example| std::cmp::Reverse(example.ids.len()));
        let mut rows: Vec<(usize, Vec<&TokenizedExample>)> = Vec::new();
        for example in order {
            let len = example.inputs().len();
            match rows.iter_mut().find(|(used, _)| used + len <= width) {
                Some((used, row)) => {
                    *used += len;
                    row.push(example);
                }
                None => rows.push((len, vec![example])),
            }
        }
        let rows: Vec<Vec<&TokenizedExample>> = rows.into_iter().map(|(_, row)| row).collect();
        Self::from_rows(&rows, Layout::Packed, device)
    }

    fn from_rows(rows: &[Vec<&TokenizedExample>], layout: Layout, device: &Device) -> Result<Self> {
        let used =
            |row: &Vec<&TokenizedExample>| row.iter().map(|example| example.inputs().len()).sum();
        let t = rows.iter().map(used).max().unwrap_or(0);
        let (mut inputs, mut at, mut targets) = (Vec::new(), Vec::new(), Vec::new());
        let mut segments = Vec::new();
        for row in rows {
            let mut segment = Vec::with_capacity(t);
            for (number, example) in (1..).zip(row) {
                let learned = (inputs.len() as u32..).zip(example.labels());
                for (place, label) in learned.filter(|(_, label)| *label != IGNORE_INDEX) {
                    at.push(place);
                    targets.push(label);
                }
                inputs.extend_from_slice(example.inputs());
                segment.resize(segment.len() + example.inputs().len(), number);
            }
            inputs.resize(inputs.len() + t - segment.len(), 0); // any token will do
            segment.resize(t, 0);
            segments.push(segment);
        }
        let n = at.len();
        Ok(Self {
            inputs: Tensor::from_vec(inputs, (rows.len(), t), device)?,
            target_positions: Tensor::from_vec(at, n, device)?,
            targets: Tensor::from_vec(targets, n, device)?,
            segment_ids: segments,
            layout,
        })
    }

    /// How many tokens are learned.
    pub fn n_targets(&self) -> usize {
        self.targets.elem_count()
    }

    /// How many tokens are read that are no padding.
    pub fn n_tokens(&self) -> usize {
        self.segment_ids.iter().flatten().filter(|&&segment| segment > 0).count()
    }

    /// The mean loss of `model` on what is learned; of nothing, 0. Only there are scores computed: with a vocabulary of
    /// 50,000 they cost more than all layers.
    ///
    /// # Errors
    /// When an example is longer than the model's context.
    pub fn loss(&self, model: &GptModern) -> Result<Tensor> {
        match self.n_targets() {
            0 => Tensor::zeros((), DType::F32, self.inputs.device()),
            _ => cross_entropy(&self.logits(model)?, &self.targets),
        }
    }

    /// The scores of the next token at every place where one is learned: (N, V).
    ///
    /// # Errors
    /// As [`SftBatch::loss`].
    pub fn logits(&self, model: &GptModern) -> Result<Tensor> {
        let mask = model.config().attention.mask();
        let pass = match self.layout {
            Layout::Padded => AttentionContext::full_sequence(mask),
            Layout::Packed => {
                AttentionContext::packed(mask, &self.segment_ids, self.inputs.device())?
            }
        };
        let hidden = model.hidden_states_in_context(&self.inputs, &pass, None)?; // (B, T, C)
        let hidden = hidden.flatten(0, 1)?.index_select(&self.target_positions, 0)?; // (N, C)
        model.logits(&hidden)
    }
}
