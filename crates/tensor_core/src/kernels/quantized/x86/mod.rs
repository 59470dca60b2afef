//! Products of bytes with AVX2 and AVX-512 VNNI: 32 integers of a group at a time.

mod vectors;
mod blocks;
mod dots;

pub(crate) use blocks::Blocks;
pub(crate) use vectors::{Avx2, Vnni};
