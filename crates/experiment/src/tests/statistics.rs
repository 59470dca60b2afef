//! Statistics, against published tables and by hand.

use tensor_core::testing::assert_close;

use crate::statistics::{mean, sample_std, std, wilson_interval};

#[test]
fn wilson_intervals_agree_with_published_tables() {
    // 8 of 10 and 0 of 20, at 95 %: (.490, .943) and (0, .161).
    let assert_near = |actual: [f64; 2], expected: [f64; 2]| {
        actual.iter().zip(expected).for_each(|(a, b)| assert_close(a, b, 5e-4));
    };
    assert_near(wilson_interval(0.8, 10), [0.490, 0.943]);
    assert_near(wilson_interval(0., 20), [0., 0.161]);
}

#[test]
fn the_deviation_of_a_sample_is_larger_than_that_of_the_values_themselves() {
    let values = [1., 2., 4., 5.]; // squared differences from 3: 4 + 1 + 1 + 4 = 10
    assert_eq!(mean(&values), 3.);
    assert_eq!(std(&values), 2.5f64.sqrt());
    assert_eq!(sample_std(&values), (10f64 / 3.).sqrt());
    assert_eq!([mean(&[]), std(&[7.]), sample_std(&[7.])], [0.; 3]);
}
