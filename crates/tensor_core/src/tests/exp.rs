//! exp in f32, on which activations and losses rest: its accuracy, up to the largest number.

use crate::kernels::{Float, map_elements};

/// exp of each number, by loops for the vector units of this CPU.
fn exp_of_all<T: Float>(x: &[T]) -> Vec<T> {
    let [y] = map_elements!([x], [x.exp()]);
    y
}

/// A unit in the last place is at most 2⁻²³ of a number.
#[test]
fn exp_is_accurate_wherever_its_value_is_a_normal_number() {
    for (from, to, units) in [(-87.3f32, 88.37, 2.), (88.37, 88.7228, 6.)] {
        let inputs: Vec<f32> = (0..=4000).map(|i| from + (to - from) * i as f32 / 4000.).collect();
        for (&x, of_loop) in inputs.iter().zip(exp_of_all(&inputs)) {
            let exact = f64::from(x).exp();
            for y in [of_loop, Float::exp(x)] {
                let error = (f64::from(y) / exact - 1.).abs();
                assert!(error <= units * 2f64.powi(-23), "exp({x}) is {exact}, not {y}");
            }
        }
    }
}

#[test]
fn exp_of_numbers_beyond_the_range_is_zero_or_infinite() {
    let inputs = [f32::NEG_INFINITY, -1e10, -88., 88.73, 1e10, f32::INFINITY];
    let expected = [0., 0., 0., f32::INFINITY, f32::INFINITY, f32::INFINITY];
    assert_eq!(exp_of_all(&inputs), expected);
    assert_eq!(inputs.map(Float::exp), expected);
    assert!(exp_of_all(&[f32::NAN])[0].is_nan() && Float::exp(f32::NAN).is_nan());
    let at_88_5 = exp_of_all(&[88.5f32])[0];
    assert!((at_88_5 / 2.723_088e38 - 1.).abs() < 1e-6, "{at_88_5}"); // numpy.exp(88.5)
}
