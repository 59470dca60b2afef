//! Quantized product with few rows of x, as in text generation: bound by the bandwidth of reading
//! the weights.
//!
//! Tasks are panels of rows of W. The scales and offsets of a panel are decoded first; then each
//! block of integers is multiplied by that of x: y = Σ over groups of scale · scale' · Σ q p +
//! offset · scale' · Σ p.

#[cfg(target_arch = "x86_64")]
use std::marker::PhantomData;
use std::sync::OnceLock;

use super::activations::Activations;
use super::block_dots::{BlockDots, Plain, Row};
use super::format::{Format, Precision};
#[cfg(target_arch = "x86_64")]
use super::x86;
use crate::kernels::float::with_scratch;
use crate::kernels::parts::SharedSlice;
use crate::kernels::pool;
use crate::kernels::prefetch::prefetch;
use crate::kernels::vectorized::vectorized;

/// Maximal rows of x for which this is faster than the f32 product.
pub(super) const MAX_ROWS: usize = 16;

/// Bytes of W per task: enough to be worth sharing, few enough to stay in a core's own cache for
/// several rows of x.
const GRAIN: usize = 16 * 1024;

/// Format that all instruction sets support.
#[cfg(not(target_arch = "x86_64"))]
pub(crate) use super::format::Format as AnyFormat;
/// Format that all instruction sets support.
#[cfg(target_arch = "x86_64")]
pub(crate) use super::x86::Blocks as AnyFormat;

/// Instruction set of a product.
#[derive(Debug, Clone, Copy)]
pub(crate) enum InstructionSet {
    /// Plain loops, as the compiler vectorizes them.
    Plain,
    /// AVX2.
    #[cfg(target_arch = "x86_64")]
    Avx2(x86::Avx2),
    /// AVX-512 with products of bytes (VNNI).
    #[cfg(target_arch = "x86_64")]
    Vnni(x86::Vnni),
}

impl InstructionSet {
    /// Instruction sets of this CPU, the fastest last.
    pub(crate) fn available() -> Vec<Self> {
        let mut paths = vec![Self::Plain];
        #[cfg(target_arch = "x86_64")]
        {
            paths.extend(x86::Avx2::try_new().map(Self::Avx2));
            paths.extend(x86::Vnni::try_new().map(Self::Vnni));
        }
        paths
    }

    fn fastest() -> Self {
        static FASTEST: OnceLock<InstructionSet> = OnceLock::new();
        *FASTEST.get_or_init(|| *Self::available().last().expect("at least the plain loops"))
    }
}

/// x Wᵀ, row by row, with the fastest instruction set.
pub(super) fn matmul<F: AnyFormat>(w: &[u8], columns: usize, x: &[f32]) -> Vec<f32> {
    matmul_with::<F>(InstructionSet::fastest(), w, columns, x)
}

/// x Wᵀ with the given instruction set.
pub(crate) fn matmul_with<F: AnyFormat>(
    isa: InstructionSet,
    w: &[u8],
    columns: usize,
    x: &[f32],
) -> Vec<f32> {
    let row_bytes = F::row_bytes(columns);
    let rows = w.len() / row_bytes;
    let mut y = vec![0.; x.len() / columns * rows];
    let x = Activations::new(x, columns, F::GROUP_SIZE, F::PRECISION);
    let shared = SharedSlice::new(&mut y);
    let panel_rows = (GRAIN / row_bytes).max(1);
    pool::for_each(rows.div_ceil(panel_rows), |task| {
        let first = task * panel_rows;
        let height = panel_rows.min(rows - first);
        // SAFETY: each task has its own columns of y.
        #[allow(unsafe_code)]
        let y = |row: usize| unsafe { shared.range(row * rows + first, height) };
        with_scratch(Panel::scratch(&x, height), |scratch| {
            // Tasks are handed out in order, so this is probably the next panel of this thread.
            let next = (first + pool::threads() * panel_rows).min(rows);
            let next = &w[next * row_bytes..][..panel_rows.min(rows - next) * row_bytes];
            let blocks = &w[first * row_bytes..][..height * row_bytes];
            let panel = Panel { blocks, next, groups: x.groups, scratch };
            multiply::<F>(isa, panel, &x, y);
        });
    });
    y
}

/// Rows of W, the unit of work of a task.
struct Panel<'a> {
    blocks: &'a [u8],
    /// Panel that this thread will probably work on next, for prefetching.
    next: &'a [u8],
    /// Groups per row.
    groups: usize,
    scratch: &'a mut [f32],
}

impl Panel<'_> {
    /// Number of scales that vector loops may read beyond the last row.
    const PADDING: usize = 8;

    /// Scratch elements needed for `height` rows.
    fn scratch(x: &Activations, height: usize) -> usize {
        2 * (height * x.groups + Self::PADDING) + 4 * x.padded
    }
}

/// Multiplies every row of the panel by every row of x, into `y(row of x)[row of the panel]`.
fn multiply<'a, F: AnyFormat>(
    isa: InstructionSet,
    panel: Panel<'_>,
    x: &Activations,
    y: impl Fn(usize) -> &'a mut [f32],
) {
    match isa {
        InstructionSet::Plain => vectorized!(multiply_rows::<F, Plain>(Plain, panel, x, y)),
        #[cfg(target_arch = "x86_64")]
        InstructionSet::Avx2(v) => v.vectorize(MultiplyRows(PhantomData::<F>, v, panel, x, y)),
        #[cfg(target_arch = "x86_64")]
        InstructionSet::Vnni(v) => v.vectorize(MultiplyRows(PhantomData::<F>, v, panel, x, y)),
    }
}

/// Call of [`multiply_rows`] that is always inlined. A closure is not inlined if overflow is
/// checked: every instruction of the loop then becomes a call, which takes 30 times as long.
#[cfg(target_arch = "x86_64")]
struct MultiplyRows<'p, 'x, F, V, Y>(PhantomData<F>, V, Panel<'p>, &'x Activations, Y);

#[cfg(target_arch = "x86_64")]
impl<'y, F: Format, V: BlockDots<F>, Y: Fn(usize) -> &'y mut [f32]> pulp::NullaryFnOnce
    for MultiplyRows<'_, '_, F, V, Y>
{
    type Output = ();

    #[inline(always)]
    fn call(self) {
        let Self(_, v, panel, x, y) = self;
        multiply_rows::<F, V>(v, panel, x, y);
    }
}

/// Four rows of bytes at a time, so that each block of W is unpacked once for all of them; then the
/// remaining rows.
#[inline(always)]
fn multiply_rows<'a, F: Format, V: BlockDots<F>>(
    v: V,
    panel: Panel<'_>,
    x: &Activations,
    y: impl Fn(usize) -> &'a mut [f32],
) {
    let Panel { blocks, next, groups, scratch } = panel;
    let row_bytes = F::row_bytes(x.columns);
    let all = blocks.len() / row_bytes * groups;
    let (scales, rest) = scratch.split_at_mut(all + Panel::PADDING);
    let (offsets, scratch) = rest.split_at_mut(all + Panel::PADDING);
    v.scales(blocks, &mut scales[..all], &mut offsets[..all]);

    let w = |i: usize, blocks| Row {
        blocks,
        scales: &scales[i * groups..],
        offsets: &offsets[i * groups..],
    };
    if F::PRECISION == Precision::Int8 {
        let multiple_of_4 = x.rows() / 4 * 4;
        for row in (0..multiple_of_4).step_by(4) {
            let (x, y) = (x.rows_from::<4>(row), [0, 1, 2, 3].map(|i| y(row + i)));
            for (i, blocks) in blocks.chunks_exact(row_bytes).enumerate() {
                let dots = v.dots(w(i, blocks), &x, scratch);
                (0..4).for_each(|row| y[row][i] = dots[row]);
            }
        }
        for row in multiple_of_4..x.rows() {
            let (x, y) = (x.rows_from::<1>(row), y(row));
            for ((i, blocks), y) in blocks.chunks_exact(row_bytes).enumerate().zip(y) {
                prefetch_all(next.get(i * row_bytes..).unwrap_or_default(), row_bytes);
                [*y] = v.dots(w(i, blocks), &x, scratch);
            }
        }
        return;
    }
    let multiple_of_2 = x.rows() / 2 * 2;
    for row in (0..multiple_of_2).step_by(2) {
        let (x, y) = (x.rows_from::<4>(row), [y(row), y(row + 1)]);
        for (i, blocks) in blocks.chunks_exact(row_bytes).enumerate() {
            let dots = v.dots(w(i, blocks), &x, scratch);
            (y[0][i], y[1][i]) = (dots[0] + dots[1], dots[2] + dots[3]);
        }
    }
    for row in multiple_of_2..x.rows() {
        let (x, y) = (x.rows_from::<2>(row), y(row));
        for ((i, blocks), y) in blocks.chunks_exact(row_bytes).enumerate().zip(y) {
            prefetch_all(next.get(i * row_bytes..).unwrap_or_default(), row_bytes);
            let [dot, residual_dot] = v.dots(w(i, blocks), &x, scratch);
            *y = dot + residual_dot;
        }
    }
}

/// Prefetches bytes that will be read soon: the hardware prefetcher follows the bytes of a task,
/// but not the order of tasks.
#[inline(always)]
fn prefetch_all(bytes: &[u8], n: usize) {
    bytes[..n.min(bytes.len())].chunks(64).for_each(|line| prefetch(line.as_ptr()));
}
