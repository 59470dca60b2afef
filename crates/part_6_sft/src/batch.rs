//! 6.2 Batches: one example per row with padding on the right, or several examples packed in a row.
//!
//! Padding on the right needs no attention mask, because no token attends to later ones, and it has
//! no labels. Packing avoids padding, but attention must stay within an example (a block-diagonal
//! mask) and positions must restart at each example. Otherwise the loss depends on the neighbors.

use candle_core::{DType, Device, Result, Tensor};
use modern::{AttentionContext, GptModern};
use tensor_core::ops::IGNORE_INDEX;

use crate::TokenizedExample;

/// Batch of examples.
#[derive(Debug, Clone)]
pub struct SftBatch {
    /// Input ids, (B, T).
    pub inputs: Tensor,
    /// Positions of the targets among the B · T inputs, (N).
    pub target_positions: Tensor,
    /// Target ids, (N), i64.
    pub targets: Tensor,
    /// Segment of each token: the number of its example in the row, from 1; padding is 0.
    pub segment_ids: Vec<Vec<u32>>,
    layout: Layout,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Layout {
    Padded,
    Packed,
}

impl SftBatch {
    /// Batch with one example per row.
    ///
    /// # Errors
    /// When the device is out of memory.
    pub fn padded(examples: &[TokenizedExample], device: &Device) -> Result<Self> {
        let rows: Vec<Vec<&TokenizedExample>> =
            examples.iter().map(|example| vec![example]).collect();
        Self::from_rows(&rows, Layout::Padded, device)
    }

    /// Batch with several examples per row, at most `width` inputs long; a longer example has a row
    /// of its own. The packing is first-fit decreasing: the longest example first, each into the
    /// first row with room.
    ///
    /// # Errors
    /// When the device is out of memory.
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
        let row_len =
            |row: &Vec<&TokenizedExample>| row.iter().map(|example| example.inputs().len()).sum();
        let t = rows.iter().map(row_len).max().unwrap_or(0);
        let (mut inputs, mut target_positions, mut targets) = (Vec::new(), Vec::new(), Vec::new());
        let mut segment_ids = Vec::new();
        for row in rows {
            let mut segment = Vec::with_capacity(t);
            for (number, example) in (1..).zip(row) {
                let labels = (inputs.len() as u32..).zip(example.labels());
                for (position, label) in labels.filter(|(_, label)| *label != IGNORE_INDEX) {
                    target_positions.push(position);
                    targets.push(label);
                }
                inputs.extend_from_slice(example.inputs());
                segment.resize(segment.len() + example.inputs().len(), number);
            }
            inputs.resize(inputs.len() + t - segment.len(), 0); // any padding id works
            segment.resize(t, 0);
            segment_ids.push(segment);
        }
        let n = targets.len();
        Ok(Self {
            inputs: Tensor::from_vec(inputs, (rows.len(), t), device)?,
            target_positions: Tensor::from_vec(target_positions, n, device)?,
            targets: Tensor::from_vec(targets, n, device)?,
            segment_ids,
            layout,
        })
    }

    /// Number of tokens in the loss.
    pub fn n_targets(&self) -> usize {
        self.targets.elem_count()
    }

    /// Number of input tokens without padding.
    pub fn n_tokens(&self) -> usize {
        self.segment_ids.iter().flatten().filter(|&&segment| segment > 0).count()
    }

    /// Mean cross-entropy of `model` over the targets; 0 for a batch without targets. Logits are
    /// computed at the targets only, and for some of them at a time: with a vocabulary of 50,000
    /// they cost more than all layers.
    ///
    /// # Errors
    /// When an example is longer than the model's context.
    pub fn loss(&self, model: &GptModern) -> Result<Tensor> {
        match self.n_targets() {
            0 => Tensor::zeros((), DType::F32, self.inputs.device()),
            _ => model.cross_entropy(&self.hidden_at_targets(model)?, &self.targets),
        }
    }

    /// Hidden states that predict the targets, (N, C).
    ///
    /// # Errors
    /// When an example is longer than the model's context, or the batch is packed and the model has
    /// attention sinks.
    pub fn hidden_at_targets(&self, model: &GptModern) -> Result<Tensor> {
        let attention = &model.config().attention;
        let context = match self.layout {
            Layout::Padded => AttentionContext::full_sequence(attention),
            Layout::Packed => AttentionContext::packed(attention, &self.segment_ids)?,
        };
        let hidden = model.hidden_states_in_context(&self.inputs, &context, None)?; // (B, T, C)
        hidden.flatten(0, 1)?.index_select(&self.target_positions, 0) // (N, C)
    }
}
