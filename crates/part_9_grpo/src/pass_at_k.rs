//! 9.6 pass@k: the probability that at least one of k samples is right (Chen et al.,
//! <https://arxiv.org/abs/2107.03374>).
//!
//! ```text
//! pass@k = 1 − C(n − c, k) / C(n, k)       c of n ≥ k samples are right
//! ```
//!
//! The estimate is the share of all k-subsets of the n samples that contain a right one. Counting
//! only the first k samples is unbiased too, but much noisier; 1 − (1 − c/n)^k is biased.

// ANCHOR: pass_at_k
/// pass@k of a problem with `c` right ones among `n` samples.
///
/// # Panics
/// When k is not in 1..=n, or c > n.
pub fn pass_at_k(n: usize, c: usize, k: usize) -> f64 {
    assert!((1..=n).contains(&k) && c <= n, "pass@{k} of {c} right ones among {n}");
    if n - c < k {
        return 1.;
    }
    // C(n − c, k) / C(n, k) = Π_{i = n − c + 1}^{n} (1 − k / i)
    1. - (n - c + 1..=n).map(|i| 1. - k as f64 / i as f64).product::<f64>()
}
// ANCHOR_END: pass_at_k
