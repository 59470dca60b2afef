//! Attention loops, for queries, keys and values in any memory layout.
//!
//! The weights of a block of queries are computed, used and discarded, so memory grows with T and
//! not with T²; keys that are masked for the whole block are never read. The backward pass
//! recomputes the weights from the saved log-sum-exp of each row (FlashAttention, Dao et al.,
//! <https://arxiv.org/abs/2205.14135>).

mod layout;
mod mask;
mod block;
mod single_query;
mod forward;
mod backward;

pub(crate) use backward::{Grads, Saved, backward};
pub(crate) use forward::forward;
pub(crate) use layout::{HeadLayout, Heads, Inputs};
pub(crate) use mask::{Mask, Pattern};
