//! Our operations against candle-nn's: the same values, and the gradients of its slow variants,
//! which have some.

use anyhow::{Context, Result};
use benches::operation::{Implementation, Operation};
use tensor_core::testing::assert_close;

#[test]
fn values_and_gradients_are_those_of_candle_nn() -> Result<()> {
    for (name, shape) in Operation::ALL {
        let small: Vec<usize> = shape.iter().map(|&n| if n > 64 { 24 } else { n }).collect();
        let operation = Operation::new(name, &small)?.context("a known operation")?;
        let values = [Implementation::Fused, Implementation::CandleNn]
            .map(|implementation| operation.forward(implementation));
        let [ours, theirs] = values;
        assert_close(ours?, theirs?, 1e-5);
        let ours = operation.forward_backward(Implementation::Fused)?;
        let theirs = operation.forward_backward(Implementation::CandleNn)?;
        for (ours, theirs) in ours.iter().zip(&theirs) {
            assert_close(ours, theirs, 1e-4); // sums over 24 rows in another order
        }
    }
    Ok(())
}
