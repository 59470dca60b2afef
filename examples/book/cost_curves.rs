//! How cost grows: the measurements of `book -- cost`, beside the cost that is counted from the
//! shapes, and the exponents of both.

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

use crate::power_law::Exponent;
use crate::step_cost::Axis;

/// Measurements of `book -- cost --out examples/book/cost_curves.json`; without points until they
/// are made.
const MEASURED: &str = include_str!("cost_curves.json");

/// Measurements of one run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct CostCurves {
    /// Name of the processor.
    pub(crate) machine: String,
    /// CPU threads.
    pub(crate) threads: usize,
    /// Axis by axis, from small to large.
    pub(crate) points: Vec<CostPoint>,
}

/// Cost of a step of one shape.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub(crate) struct CostPoint {
    /// Size that differs from the base.
    pub(crate) axis: Axis,
    /// Its value.
    pub(crate) size: usize,
    /// Counted FLOPs and bytes.
    pub(crate) flops: f64,
    pub(crate) bytes: f64,
    /// Median duration of a step, in seconds.
    pub(crate) seconds: f64,
    /// Peak of the allocated bytes.
    pub(crate) peak_bytes: f64,
}

/// Measured quantity, and the counted one beside it.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Quantity {
    Time,
    Memory,
}

impl Quantity {
    /// Measured and counted cost of `point`: seconds and FLOPs, or bytes.
    pub(crate) fn costs(self, point: &CostPoint) -> (f64, f64) {
        match self {
            Self::Time => (point.seconds, point.flops),
            Self::Memory => (point.peak_bytes, point.bytes),
        }
    }

    /// Unit of the figure, and its size in seconds or bytes.
    pub(crate) fn unit(self) -> (&'static str, f64) {
        match self {
            Self::Time => ("log₁₀ of seconds", 1.),
            Self::Memory => ("log₁₀ of MB", 1e6),
        }
    }
}

/// Exponents of a cost along one axis, fitted to the same sizes.
pub(crate) struct Exponents {
    pub(crate) measured: Exponent,
    pub(crate) counted: Exponent,
    /// Exponent of measured over counted cost: 0 where counting is right up to a factor.
    pub(crate) difference: Exponent,
}

impl CostCurves {
    /// The committed measurements.
    ///
    /// # Errors
    /// When the file is not valid.
    pub(crate) fn committed() -> Result<Self> {
        serde_json::from_str(MEASURED).context("reading cost_curves.json")
    }

    /// Points of `axis`.
    pub(crate) fn of(&self, axis: Axis) -> Vec<CostPoint> {
        self.points.iter().filter(|point| point.axis == axis).copied().collect()
    }

    /// Exponents along `axis`; `None` with fewer than three points.
    pub(crate) fn exponents(&self, axis: Axis, quantity: Quantity) -> Option<Exponents> {
        let points = self.of(axis);
        let fit = |cost: fn((f64, f64)) -> f64| {
            let pairs = points.iter().map(|p| (p.size as f64, cost(quantity.costs(p))));
            Exponent::fit(&pairs.collect::<Vec<_>>())
        };
        (points.len() > 2).then(|| Exponents {
            measured: fit(|(measured, _)| measured),
            counted: fit(|(_, counted)| counted),
            difference: fit(|(measured, counted)| measured / counted),
        })
    }

    /// Rows of the table: an axis each, with the exponents of time and memory.
    pub(crate) fn rows(&self) -> Vec<Vec<String>> {
        let mut rows = Vec::new();
        for axis in Axis::ALL {
            let points = self.of(axis);
            let (Some(first), Some(last)) = (points.first(), points.last()) else { continue };
            let mut row = vec![axis.to_string(), format!("{} to {}", first.size, last.size)];
            for quantity in [Quantity::Time, Quantity::Memory] {
                row.extend(match self.exponents(axis, quantity) {
                    Some(Exponents { measured, counted, difference }) => [
                        measured.to_string(),
                        format!("{:.2}", counted.value),
                        difference.to_string(),
                    ],
                    None => [const { String::new() }; 3],
                });
            }
            rows.push(row);
        }
        rows
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use tensor_core::testing::assert_close;

    use super::*;

    /// Measurements that follow the count exactly: 10⁹ FLOPs a second, twice the bytes.
    pub(crate) fn as_counted() -> CostCurves {
        let points = Axis::ALL.into_iter().flat_map(|axis| {
            axis.sizes().iter().map(move |&size| {
                let shape = axis.shape(size);
                let (flops, bytes) = (shape.flops(), shape.bytes());
                let (seconds, peak_bytes) = (flops / 1e9, 2. * bytes);
                CostPoint { axis, size, flops, bytes, seconds, peak_bytes }
            })
        });
        CostCurves { machine: "paper".into(), threads: 1, points: points.collect() }
    }

    #[test]
    fn a_factor_does_not_change_an_exponent() {
        for axis in Axis::ALL {
            for quantity in [Quantity::Time, Quantity::Memory] {
                let exponents = as_counted().exponents(axis, quantity).expect("three points");
                let Exponents { measured, counted, difference } = exponents;
                assert_close(measured.value, counted.value, 1e-9);
                assert_close([difference.value, difference.half_width], [0., 0.], 1e-9);
            }
        }
    }

    #[test]
    fn the_committed_measurements_have_the_shapes_of_today() -> Result<()> {
        for point in CostCurves::committed()?.points {
            let shape = point.axis.shape(point.size);
            assert_close([point.flops, point.bytes], [shape.flops(), shape.bytes()], 1e-9);
            assert!(point.seconds > 0. && point.peak_bytes > 0., "{point:?}");
        }
        Ok(())
    }
}
