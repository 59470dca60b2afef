//! Loops that write new vectors: element by element, row by row, or one number per row.
//!
//! They are macros for the reason given at `vectorized!`, in which they run their last argument.

use super::float::Float;
use super::parts::{GRAIN, whole_rows};
use super::uninit::build;
use super::vectorized::vectorized;

/// `map_elements!([a, b], [a + b, a - b])`: one new vector for each expression, of its values for
/// the elements of the slices a and b.
macro_rules! map_elements {
    ([$first:ident $(, $slice:ident)*], $values:expr) => {
        $crate::kernels::build([($first.len(), $crate::kernels::GRAIN); _], |part, outputs| {
            let start = part * $crate::kernels::GRAIN;
            let rows = [&$first[start..] $(, &$slice[start..])*];
            $crate::kernels::vectorized!(
                $crate::kernels::Uninit::fill_all(outputs, rows, |[$first $(, $slice)*]| $values)
            )
        })
    };
}
pub(crate) use map_elements;

/// `new_rows!(n, width, |row, out| filled)`: new vector of n rows of `width` elements; the
/// expression fills `out`, the memory of the row with this index.
macro_rules! new_rows {
    ($rows:expr, $width:expr, |$row:ident, $out:ident| $filled:expr) => {{
        let width = $width;
        let part = $crate::kernels::whole_rows(width);
        let [rows] = $crate::kernels::build([($rows * width, part)], |i, [out]| {
            let first = i * part / width;
            [$crate::kernels::vectorized!(out.fill_rows(width, |i, $out| {
                let $row = first + i;
                $filled
            }))]
        });
        rows
    }};
}
pub(crate) use new_rows;

/// `map_rows!(width, [a, b], |out| filled)`: one new row for each row of the slice a. In the
/// expression that fills `out`, `a` and `b` are the rows of those slices with the same index, which
/// `|row, out|` gives too.
macro_rules! map_rows {
    ($width:expr, [$($slice:ident),+], |$out:ident| $filled:expr) => {
        $crate::kernels::map_rows!($width, [$($slice),+], |_row, $out| $filled)
    };
    ($width:expr, [$first:ident $(, $slice:ident)*], |$row:ident, $out:ident| $filled:expr) => {{
        let width = $width;
        $crate::kernels::new_rows!($first.len() / width, width, |$row, $out| {
            let $first = &$first[$row * width..][..width];
            $(let $slice = &$slice[$row * width..][..width];)*
            $filled
        })
    }};
}
pub(crate) use map_rows;

/// `reduce_rows!(n, width, |row| value)`: new vector with one value for each of n rows of `width`
/// elements.
macro_rules! reduce_rows {
    ($rows:expr, $width:expr, |$row:ident| $value:expr) => {{
        let width = $width;
        let part = $crate::kernels::whole_rows(width) / width;
        let [values] = $crate::kernels::build([($rows, part)], |i, [out]| {
            let first = i * part;
            [$crate::kernels::vectorized!(out.fill_each(|i| {
                let $row = first + i;
                $value
            }))]
        });
        values
    }};
}
pub(crate) use reduce_rows;

/// Product a · b, element by element.
pub(crate) fn elementwise_product<T: Float>(a: &[T], b: &[T]) -> Vec<T> {
    let [product] = map_elements!([a, b], [a * b]);
    product
}

/// Sum a + b, element by element; `b` is as long as `a`, or a row that is added to each row of `a`.
pub(crate) fn broadcast_add<T: Float>(a: &[T], b: &[T]) -> Vec<T> {
    let part = if a.len() == b.len() { GRAIN } else { whole_rows(b.len()) };
    let [sum] = build([(a.len(), part)], |i, [sum]| {
        let a = &a[i * part..][..sum.len()];
        let b = if a.len() < b.len() { &b[i * part..][..a.len()] } else { b };
        [vectorized!({
            sum.fill_rows(b.len(), |row, sum| sum.fill([&a[row * b.len()..], b], |[a, b]| a + b))
        })]
    });
    sum
}
