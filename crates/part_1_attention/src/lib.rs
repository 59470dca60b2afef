#![doc = include_str!("../README.md")]

// Letters in shapes: B batch, T time (tokens), C channels (n_embd), H heads, D = C / H channels per
// head.

pub mod positions; // 1.1
pub mod by_hand; // 1.2
pub mod head; // 1.3
pub mod block_config;
pub mod multi_head; // 1.4
pub mod feed_forward; // 1.5
pub mod block; // 1.6
pub mod readable_heads; // 1.7
pub mod picture;

pub use block::Block;
pub use block_config::BlockConfig;
pub use feed_forward::FeedForward;
pub use head::{Head, attention_weights, causal_attention, causal_mask};
pub use multi_head::MultiHeadAttention;
pub use positions::{LearnedPositions, sinusoidal_positions};

#[cfg(test)]
mod tests;
