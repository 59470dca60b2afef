//! 5.1 Top-K selection in each row.

/// Column indices of the `k` largest values of each row of `e` values, largest first. Of equal
/// values the first one comes first, and NaN is the smallest.
///
/// # Panics
/// When `k` is more than `e`.
pub fn top_k(values: &[f32], e: usize, k: usize) -> Vec<u32> {
    assert!(k <= e, "top {k} of {e} values");
    let mut indices = Vec::with_capacity(values.len() / e * k);
    let mut is_selected = vec![false; e];
    for row in values.chunks_exact(e) {
        is_selected.fill(false);
        for _ in 0..k {
            let mut best = None;
            for (i, &value) in row.iter().enumerate() {
                let is_better = |max: f32| value > max || (max.is_nan() && !value.is_nan());
                if !is_selected[i] && best.is_none_or(|(_, max)| is_better(max)) {
                    best = Some((i, value));
                }
            }
            let (i, _) = best.expect("fewer than e values are selected");
            is_selected[i] = true;
            indices.push(i as u32);
        }
    }
    indices
}
