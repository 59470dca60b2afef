//! Tests of this crate, one module per topic.

mod golden;
mod pool;
mod exp;
mod threads;
mod graph;
mod recompute;
mod row_chunks;
mod ops;
mod fused;
mod groups;
mod attention;
mod softcap;
mod errors;
mod half;
mod bf16;
mod adamw;
mod adamw_8bit;
mod muon;
mod parameters;
mod candle_nn;
mod rng;
mod device;
mod files;
mod testing;
mod quantized;
