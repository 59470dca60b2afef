//! The product with few rows of x, as text generation has it: bound by how fast the weights can be read.
//!
//! Tasks are panels of rows of W. A row's scales and offsets are worked out first, all at once; then each block of whole
//! numbers meets that of x: y = Σ over groups of scale · scale' · Σ q p + offset · scale' · Σ p.

use std::sync::OnceLock;

use super::activations::{Activations, Rows};
use super::format::{Format, by_format};
use super::matrix::QuantizedMatrix;
#[cfg(target_arch = "x86_64")]
use super::x86;
use crate::ops::cpu::{Loops, Shared, vectorized, with_scratch};
use crate::pool;

/// Rows of x up to which this is faster than the f32 product.
pub(super) const MOST: usize = 8;

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
    let x = Activations::new(x, columns, F::GROUP);
    let mut y = vec![0.; x.rows() * rows];
    let shared = Shared::new(&mut y);
    let height = (GRAIN / w.row_bytes()).max(1);
    pool::for_each(rows.div_ceil(height), |task| {
        let first = task * height;
        let height = height.min(rows - first);
        // SAFETY: each task has its own columns of y.
        #[allow(unsafe_code)]
        let y = |row: usize| unsafe { shared.range(row * rows + first, height) };
        with_scratch(Panel::scratch(&x, height), |scratch| {
            let panel = Panel::new::<F>(w.panel(first, height), &x, scratch);
            multiply::<F>(path, panel, &x, y);
        });
    });
    y
}

/// What a format needs for all paths.
#[cfg(target_arch = "x86_64")]
trait Kernel: x86::Blocks {}
#[cfg(target_arch = "x86_64")]
impl<F: x86::Blocks> Kernel for F {}
#[cfg(not(target_arch = "x86_64"))]
trait Kernel: Format {}
#[cfg(not(target_arch = "x86_64"))]
impl<F: Format> Kernel for F {}

/// Rows of W with their scales and offsets.
struct Panel<'a> {
    blocks: &'a [u8],
    row_bytes: usize,
    groups: usize,
    scales: &'a [f32],
    offsets: &'a [f32],
    /// Room for the products of scales.
    scratch: &'a mut [f32],
}

impl<'a> Panel<'a> {
    /// Vector loops may read so many numbers beyond the last row.
    const BEYOND: usize = 8;

    /// How much scratch `height` rows need.
    fn scratch(x: &Activations, height: usize) -> usize {
        2 * (height * x.groups + Self::BEYOND) + 4 * x.padded
    }

    fn new<F: Format>(blocks: &'a [u8], x: &Activations, scratch: &'a mut [f32]) -> Self {
        let row_bytes = x.columns / F::NUMBERS * F::BYTES;
        let groups = blocks.len() / row_bytes * x.groups;
        let (scales, rest) = scratch.split_at_mut(groups + Self::BEYOND);
        let (offsets, scratch) = rest.split_at_mut(groups + Self::BEYOND);
        vectorized!(F::scales(blocks, &mut scales[..groups], &mut offsets[..groups]));
        Self { blocks, row_bytes, groups: x.groups, scales, offsets, scratch }
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
        Path::Plain => vectorized!(each::<F>(panel, x, y, dots::<F, 1>, dots::<F, 4>)),
        #[cfg(target_arch = "x86_64")]
        Path::Avx2(v) => v.vectorize(Loops(|| {
            each::<F>(
                panel,
                x,
                y,
                |w, x, s| x86::dots::<F, _, 1>(v, w, x, s),
                |w, x, s| x86::dots::<F, _, 4>(v, w, x, s),
            );
        })),
        #[cfg(target_arch = "x86_64")]
        Path::Vnni(v) => v.vectorize(Loops(|| {
            each::<F>(
                panel,
                x,
                y,
                |w, x, s| x86::dots::<F, _, 1>(v, w, x, s),
                |w, x, s| x86::dots::<F, _, 4>(v, w, x, s),
            );
        })),
    }
}

/// Rows of x by fours, as each block of W is unpacked once for all four; then one by one.
#[inline(always)]
fn each<'a, F: Format>(
    panel: Panel<'_>,
    x: &Activations,
    y: impl Fn(usize) -> &'a mut [f32],
    one: impl Fn(Row<'_>, &Rows<'_, 1>, &mut [f32]) -> [f32; 1],
    four: impl Fn(Row<'_>, &Rows<'_, 4>, &mut [f32]) -> [f32; 4],
) {
    let Panel { blocks, row_bytes, groups, scales, offsets, scratch } = panel;
    let w = |i: usize, blocks| Row {
        blocks,
        scales: &scales[i * groups..],
        offsets: &offsets[i * groups..],
    };
    let fours = x.rows() / 4 * 4;
    for row in (0..fours).step_by(4) {
        let (x, y) = (x.rows_from::<4>(row), [0, 1, 2, 3].map(|i| y(row + i)));
        for (i, blocks) in blocks.chunks_exact(row_bytes).enumerate() {
            let dots = four(w(i, blocks), &x, scratch);
            (0..4).for_each(|row| y[row][i] = dots[row]);
        }
    }
    for row in fours..x.rows() {
        let (x, y) = (x.rows_from::<1>(row), y(row));
        for ((i, blocks), y) in blocks.chunks_exact(row_bytes).enumerate().zip(y) {
            [*y] = one(w(i, blocks), &x, scratch);
        }
    }
}

/// A row of W; what lies behind the row's groups belongs to the next.
pub(super) struct Row<'a> {
    pub(super) blocks: &'a [u8],
    pub(super) scales: &'a [f32],
    pub(super) offsets: &'a [f32],
}

/// One row of W with R rows of x, in plain loops.
#[inline(always)]
fn dots<F: Format, const R: usize>(w: Row<'_>, x: &Rows<'_, R>, _: &mut [f32]) -> [f32; R] {
    let mut y = x.sums.map(|sums| {
        w.offsets.iter().zip(&sums[..x.groups]).map(|(offset, sum)| offset * sum).sum::<f32>()
    });
    let mut quants = [0i8; 256];
    for (block, blocks) in w.blocks.chunks_exact(F::BYTES).enumerate() {
        F::quants(blocks, &mut quants[..F::NUMBERS]);
        for (group, q) in quants[..F::NUMBERS].chunks_exact(F::GROUP).enumerate() {
            let group = block * (F::NUMBERS / F::GROUP) + group;
            for (i, y) in y.iter_mut().enumerate() {
                let p = &x.quants[i][group * F::GROUP..][..F::GROUP];
                let dot: i32 = q.iter().zip(p).map(|(&q, &p)| i32::from(q) * i32::from(p)).sum();
                *y += dot as f32 * (w.scales[group] * x.scales[i][group]);
            }
        }
    }
    y
}
