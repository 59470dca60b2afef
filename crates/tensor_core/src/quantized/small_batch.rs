//! The product with few rows of x, as text generation has it: bound by how fast the weights can be read.
//!
//! Tasks are panels of rows of W. A row's scales and offsets are worked out first, all at once; then each block of whole
//! numbers meets that of x: y = Σ over groups of scale · scale' · Σ q p + offset · scale' · Σ p.

#[cfg(target_arch = "x86_64")]
use std::marker::PhantomData;
use std::sync::OnceLock;

use super::activations::{Activations, Precision, Rows};
use super::format::{Format, by_format};
use super::matrix::QuantizedMatrix;
use super::plain::Plain;
#[cfg(target_arch = "x86_64")]
use super::x86;
use crate::ops::cpu::{Shared, vectorized, with_scratch};
use crate::pool;
use crate::prefetch::prefetch;

/// Rows of x up to which this is faster than the f32 product.
pub(super) const MOST: usize = 16;

/// Bytes of W per task: enough to be worth handing out, few enough to stay in a core's own cache for several rows of x.
const GRAIN: usize = 16 * 1024;

/// The instructions that a product is made of.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Path {
    /// What the compiler makes of plain loops.
    Plain,
    /// AVX2.
    #[cfg(target_arch = "x86_64")]
    Avx2(x86::Avx2),
    /// AVX-512 with its byte products.
    #[cfg(target_arch = "x86_64")]
    Vnni(x86::Vnni),
}

impl Path {
    /// Those that this CPU has, the fastest last.
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
        static FASTEST: OnceLock<Path> = OnceLock::new();
        *FASTEST.get_or_init(|| *Self::available().last().expect("one path at least"))
    }
}

/// x Wᵀ, row by row, by the fastest path.
pub(super) fn product(w: &QuantizedMatrix, x: &[f32]) -> Vec<f32> {
    product_by(Path::fastest(), w, x)
}

/// x Wᵀ by a path of choice.
pub(crate) fn product_by(path: Path, w: &QuantizedMatrix, x: &[f32]) -> Vec<f32> {
    by_format!(w.format(), product_as(path, w, x))
}

fn product_as<F: Kernel>(path: Path, w: &QuantizedMatrix, x: &[f32]) -> Vec<f32> {
    let (rows, columns) = w.dims();
    let mut y = vec![0.; x.len() / columns * rows];
    let x = Activations::new(x, columns, F::GROUP, F::PRECISION);
    let shared = Shared::new(&mut y);
    let full = (GRAIN / w.row_bytes()).max(1);
    pool::for_each(rows.div_ceil(full), |task| {
        let first = task * full;
        let height = full.min(rows - first);
        // SAFETY: each task has its own columns of y.
        #[allow(unsafe_code)]
        let y = |row: usize| unsafe { shared.range(row * rows + first, height) };
        with_scratch(Panel::scratch(&x, height), |scratch| {
            // Tasks are handed out in order, so that this thread will get about this one next.
            let next = first + pool::threads() * full;
            let next = if next < rows { w.panel(next, full.min(rows - next)) } else { &[] };
            let panel = Panel { blocks: w.panel(first, height), next, groups: x.groups, scratch };
            multiply::<F>(path, panel, &x, y);
        });
    });
    y
}

/// A format that all paths know.
#[cfg(target_arch = "x86_64")]
trait Kernel: x86::Blocks {}
#[cfg(target_arch = "x86_64")]
impl<F: x86::Blocks> Kernel for F {}
#[cfg(not(target_arch = "x86_64"))]
trait Kernel: Format {}
#[cfg(not(target_arch = "x86_64"))]
impl<F: Format> Kernel for F {}

/// Rows of W.
struct Panel<'a> {
    blocks: &'a [u8],
    /// The panel that this thread will probably work on next.
    next: &'a [u8],
    /// Groups of a row.
    groups: usize,
    scratch: &'a mut [f32],
}

impl Panel<'_> {
    /// Vector loops may read so many scales beyond the last row.
    const BEYOND: usize = 8;

    /// How much scratch `height` rows need.
    fn scratch(x: &Activations, height: usize) -> usize {
        2 * (height * x.groups + Self::BEYOND) + 4 * x.padded
    }
}

/// Every row of the panel with every row of x, to `y(row of x)[row of the panel]`.
fn multiply<'a, F: Kernel>(
    path: Path,
    panel: Panel<'_>,
    x: &Activations,
    y: impl Fn(usize) -> &'a mut [f32],
) {
    match path {
        Path::Plain => vectorized!(each::<F, Plain>(Plain, panel, x, y)),
        #[cfg(target_arch = "x86_64")]
        Path::Avx2(v) => v.vectorize(Each(PhantomData::<F>, v, panel, x, y)),
        #[cfg(target_arch = "x86_64")]
        Path::Vnni(v) => v.vectorize(Each(PhantomData::<F>, v, panel, x, y)),
    }
}

/// A call of [`each`] that is inlined for certain. A closure is not where overflow is checked: then every instruction of
/// the loop becomes a call, which takes 30 times as long.
#[cfg(target_arch = "x86_64")]
struct Each<'p, 'x, F, V, Y>(PhantomData<F>, V, Panel<'p>, &'x Activations, Y);

#[cfg(target_arch = "x86_64")]
impl<'y, F: Format, V: Dots<F>, Y: Fn(usize) -> &'y mut [f32]> pulp::NullaryFnOnce
    for Each<'_, '_, F, V, Y>
{
    type Output = ();

    #[inline(always)]
    fn call(self) {
        let Self(_, v, panel, x, y) = self;
        each::<F, V>(v, panel, x, y);
    }
}

/// Four rows of bytes at a time, as each block of W is unpacked once for all; then the rest.
#[inline(always)]
fn each<'a, F: Format, V: Dots<F>>(
    v: V,
    panel: Panel<'_>,
    x: &Activations,
    y: impl Fn(usize) -> &'a mut [f32],
) {
    let Panel { blocks, next, groups, scratch } = panel;
    let row_bytes = x.columns / F::NUMBERS * F::BYTES;
    let all = blocks.len() / row_bytes * groups;
    let (scales, rest) = scratch.split_at_mut(all + Panel::BEYOND);
    let (offsets, scratch) = rest.split_at_mut(all + Panel::BEYOND);
    v.scales(blocks, &mut scales[..all], &mut offsets[..all]);

    let w = |i: usize, blocks| Row {
        blocks,
        scales: &scales[i * groups..],
        offsets: &offsets[i * groups..],
    };
    if F::PRECISION == Precision::Once {
        let fours = x.rows() / 4 * 4;
        for row in (0..fours).step_by(4) {
            let (x, y) = (x.rows_from::<4>(row), [0, 1, 2, 3].map(|i| y(row + i)));
            for (i, blocks) in blocks.chunks_exact(row_bytes).enumerate() {
                let dots = v.dots(w(i, blocks), &x, scratch);
                (0..4).for_each(|row| y[row][i] = dots[row]);
            }
        }
        for row in fours..x.rows() {
            let (x, y) = (x.rows_from::<1>(row), y(row));
            for ((i, blocks), y) in blocks.chunks_exact(row_bytes).enumerate().zip(y) {
                prefetch_all(next.get(i * row_bytes..).unwrap_or_default(), row_bytes);
                [*y] = v.dots(w(i, blocks), &x, scratch);
            }
        }
        return;
    }
    let pairs = x.rows() / 2 * 2;
    for row in (0..pairs).step_by(2) {
        let (x, y) = (x.rows_from::<4>(row), [y(row), y(row + 1)]);
        for (i, blocks) in blocks.chunks_exact(row_bytes).enumerate() {
            let dots = v.dots(w(i, blocks), &x, scratch);
            (y[0][i], y[1][i]) = (dots[0] + dots[1], dots[2] + dots[3]);
        }
    }
    for row in pairs..x.rows() {
        let (x, y) = (x.rows_from::<2>(row), y(row));
        for ((i, blocks), y) in blocks.chunks_exact(row_bytes).enumerate().zip(y) {
            prefetch_all(next.get(i * row_bytes..).unwrap_or_default(), row_bytes);
            let [dot, of_remainder] = v.dots(w(i, blocks), &x, scratch);
            *y = dot + of_remainder;
        }
    }
}

/// Calls for bytes that are read soon: the processor foresees the order of bytes by itself, but not that of tasks.
#[inline(always)]
fn prefetch_all(bytes: &[u8], n: usize) {
    bytes[..n.min(bytes.len())].chunks(64).for_each(|line| prefetch(line.as_ptr()));
}

/// What the paths do differently.
pub(super) trait Dots<F>: Copy {
    /// Scale and offset of each group of blocks.
    fn scales(self, blocks: &[u8], scales: &mut [f32], offsets: &mut [f32]);

    /// One row of W with R rows of bytes of x.
    fn dots<const R: usize>(self, w: Row<'_>, x: &Rows<'_, R>, scratch: &mut [f32]) -> [f32; R];
}

/// A row of W; what lies behind the row's groups belongs to the next.
pub(super) struct Row<'a> {
    pub(super) blocks: &'a [u8],
    pub(super) scales: &'a [f32],
    pub(super) offsets: &'a [f32],
}
