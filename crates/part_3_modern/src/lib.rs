//! Part 3: the modern architecture.

pub mod gguf;
pub mod row_order;

#[cfg(test)]
mod tests;
