//! 3.8 The cache of an 8B model at 8,192 tokens (predict, 6 minutes, ●○○)
//!
//! Llama 3 8B: 32 layers, 32 query heads of 128 channels, 8 key/value heads, cache in bf16.
//!
//! Hint: Per token and layer: a key and a value of 8 · 128 numbers each.
//! Hint: 2 · 8 · 128 · 2 bytes · 32 layers = 131,072 bytes per token.
//! Hint: Times 8,192 tokens: 2³⁰ bytes. Question 2: 32 heads instead of 8.
//! Read: crates/part_3_modern/src/kv_cache.rs: pub fn size_in_bytes
//! Read: book/src/03_modern.md: ## The KV cache: nothing is computed twice

use crate::grading::Prediction;

/// Questions.
pub fn questions() -> Vec<Prediction> {
    let per_token = 2. * 8. * 128. * 2. * 32.;
    let mib = per_token * 8192. / 1024. / 1024.;
    vec![
        Prediction::number(
            "How many MiB does it take for one text of 8,192 tokens?",
            mib,
            50.,
            "1 GiB.",
        )
        .trap(mib / 2., "keys and values are stored")
        .trap(4. * mib, "the query heads are not stored: 8 heads are, not 32")
        .trap(2. * mib, "bf16 is two bytes"),
        Prediction::number(
            "And without sharing, with 32 key/value heads?",
            4. * mib,
            200.,
            "Four times as much: this is what grouped queries are for.",
        )
        .trap(mib, "the number of key/value heads is what counts"),
    ]
}
