use tensor_core::testing::assert_close;

use crate::row_order::{fused_to_per_head_order, interleaved_to_half_order, permute_rows};

#[test]
fn adjacent_pairs_become_halves_within_each_head() {
    assert_eq!(interleaved_to_half_order(2, 6), [0, 2, 4, 1, 3, 5, 6, 8, 10, 7, 9, 11]);
    assert_eq!(permute_rows(b"aabbccdd", &interleaved_to_half_order(1, 4)), b"aaccbbdd");
    assert!(permute_rows::<u8>(&[], &[]).is_empty());
}

#[test]
fn queries_keys_and_values_of_a_head_become_neighbors() {
    // Two heads of two rows: the capital letters are the second head's.
    let order = fused_to_per_head_order(2, 2);
    assert_eq!(permute_rows(b"qrQRklKLvwVW", &order), b"qrklvwQRKLVW");
    assert!(fused_to_per_head_order(0, 2).is_empty());
}

/// q·k after rotating adjacent pairs equals q·k after rotating halves of the permuted q and k.
#[test]
fn permuting_rows_leaves_attention_logits_unchanged() {
    let (n_head, d) = (2, 8);
    let x = |seed: f64| (0..n_head * d).map(|i| (seed * (i + 1) as f64).sin()).collect::<Vec<_>>();
    let rotate = |x: &[f64], position: f64, pair: fn(usize) -> (usize, usize)| {
        let mut y = x.to_vec();
        for h in 0..n_head {
            for i in 0..d / 2 {
                let (a, b) = (h * d + pair(i).0, h * d + pair(i).1);
                let (sin, cos) = (position * 10_000f64.powf(-2. * i as f64 / d as f64)).sin_cos();
                (y[a], y[b]) = (x[a] * cos - x[b] * sin, x[a] * sin + x[b] * cos);
            }
        }
        y
    };
    let logit = |q: &[f64], k: &[f64]| q.iter().zip(k).map(|(q, k)| q * k).sum::<f64>();
    let adjacent: fn(usize) -> _ = |i| (2 * i, 2 * i + 1);
    let halves: fn(usize) -> _ = |i| (i, 4 + i);
    let (q, k) = (x(0.7), x(1.3));
    let order = interleaved_to_half_order(n_head, d);
    let (q2, k2) = (permute_rows(&q, &order), permute_rows(&k, &order));
    let a = logit(&rotate(&q, 5., adjacent), &rotate(&k, 2., adjacent));
    let b = logit(&rotate(&q2, 5., halves), &rotate(&k2, 2., halves));
    assert_close(a, b, 1e-12);
}
