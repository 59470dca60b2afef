//! Row order of the q and k matrices, which depends on how RoPE pairs the components of a head, and
//! of a matrix of queries, keys and values.
//!
//! Meta's Llama and llama.cpp rotate adjacent components (2i, 2i + 1); Hugging Face and we rotate
//! halves (i, D/2 + i). Both apply the same rotation to differently ordered rows, so permuting the
//! rows once converts a checkpoint.

use crate::config::AttentionConfig;

/// Number of heads of the tensor `name` if RoPE rotates its rows: those of queries or of keys.
pub(crate) fn n_rotated_heads(name: &str, attention: &AttentionConfig) -> Option<usize> {
    match name {
        _ if name.contains(".q_proj") => Some(attention.n_head),
        _ if name.contains(".k_proj") => Some(attention.n_kv_head),
        _ => None,
    }
}

/// Row order that converts adjacent pairs to halves: row `i` of the new matrix `(n_head·head_dim,
/// in)` is row `order[i]` of the old one.
///
/// Within a head, new row `j` is old row `2j` and new row `D/2 + j` is old row `2j + 1`. `head_dim`
/// is even.
pub(crate) fn interleaved_to_half_order(n_head: usize, head_dim: usize) -> Vec<usize> {
    let half = head_dim / 2;
    let head = (0..half).map(|j| 2 * j).chain((0..half).map(|j| 2 * j + 1));
    (0..n_head).flat_map(|h| head.clone().map(move |row| h * head_dim + row)).collect()
}

/// Row order that converts a matrix of all queries, then all keys, then all values to query, key
/// and value of the first head, then of the second, and so on, for as many keys as queries: row `i`
/// of the new matrix `(3·n_head·head_dim, in)` is row `order[i]` of the old one.
pub(crate) fn fused_to_per_head_order(n_head: usize, head_dim: usize) -> Vec<usize> {
    let starts = (0..n_head).flat_map(|head| (0..3).map(move |part| part * n_head + head));
    starts.flat_map(|start| (0..head_dim).map(move |row| start * head_dim + row)).collect()
}

/// Matrix with permuted rows: row `i` of the result is row `order[i]`. Works on numbers and on the
/// bytes of quantized rows.
///
/// # Panics
/// When `matrix` is not `order.len()` rows of the same length.
pub(crate) fn permute_rows<T: Copy>(matrix: &[T], order: &[usize]) -> Vec<T> {
    assert!(
        matrix.len().is_multiple_of(order.len().max(1)),
        "{} elements cannot be split into {} equal rows",
        matrix.len(),
        order.len()
    );
    let row_len = matrix.len() / order.len().max(1);
    order.iter().flat_map(|&row| &matrix[row * row_len..][..row_len]).copied().collect()
}
