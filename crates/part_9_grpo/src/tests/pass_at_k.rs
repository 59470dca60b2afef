//! pass@k against enumeration.

use tensor_core::testing::assert_close;

use crate::pass_at_k;

/// Share of the k-subsets of n samples, the first c of which are right, with a right one.
fn pass_at_k_by_enumeration(n: usize, c: usize, k: usize) -> f64 {
    let subsets = (0u32..1 << n).filter(|set| set.count_ones() as usize == k);
    let (mut all, mut right) = (0., 0.);
    for set in subsets {
        all += 1.;
        right += f64::from(u8::from(set & ((1 << c) - 1) != 0));
    }
    right / all
}

#[test]
fn pass_at_k_is_the_share_of_subsets_with_a_right_sample() {
    for n in 1..=8 {
        for c in 0..=n {
            for k in 1..=n {
                let (ours, exact) = (pass_at_k(n, c, k), pass_at_k_by_enumeration(n, c, k));
                assert_close(ours, exact, 1e-12);
            }
        }
    }
}

#[test]
fn pass_at_1_is_the_share_of_right_samples() {
    assert_close(pass_at_k(200, 37, 1), 37. / 200., 1e-12);
    assert_eq!((pass_at_k(200, 0, 100), pass_at_k(200, 101, 100)), (0., 1.));
}
