//! 5.1 The K best of each row.

/// The columns of the `k` largest numbers of each row of `e`, largest first; of equal ones, the first. NaN is the smallest.
///
/// # Panics
/// When `k` is more than `e`.
pub fn top_k(scores: &[f32], e: usize, k: usize) -> Vec<u32> {
    assert!(k <= e, "the {k} best of {e}");
    let mut chosen = Vec::with_capacity(scores.len() / e * k);
    let mut taken = vec![false; e];
    for row in scores.chunks_exact(e) {
        taken.fill(false);
        for _ in 0..k {
            let mut best = None;
            for (i, &score) in row.iter().enumerate() {
                let better = |most: f32| score > most || (most.is_nan() && !score.is_nan());
                if !taken[i] && best.is_none_or(|(_, most)| better(most)) {
                    best = Some((i, score));
                }
            }
            let (i, _) = best.expect("fewer than e are taken");
            taken[i] = true;
            chosen.push(i as u32);
        }
    }
    chosen
}
