//! The product with few rows of x, as text generation has it: bound by how fast the weights can be read.
//!
//! Tasks are panels of rows of W. A row's scales and offsets are worked out first, all at once; then each block of whole
//! numbers meets that of x: y = Σ over groups of scale · scale' · Σ q p + offset · scale' · Σ p.

use std::sync::OnceLock;

use super::activations::Activations;
use super::format::{Format, by_format};
use super::matrix::QuantizedMatrix;
#[cfg(target_arch = "x86_64")]
use super::x86;
use crate::ops::cpu::{Shared, vectorized, with_scratch};
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
        let panel = w.panel(first, height);
        // SAFETY: each task has its own columns of y.
        #[allow(unsafe_code)]
        let y = |row: usize| unsafe { shared.range(row * rows + first, height) };
        with_scratch(6 * x.groups, |scratch| {
            // Rows of x by fours, as each block of W is unpacked once for all four.
            for row in (0..x.rows() / 4).map(|i| 4 * i) {
                product_of_panel::<F, 4>(
                    path,
                    panel,
                    (&x, row),
                    scratch,
                    [0, 1, 2, 3].map(|i| y(row + i)),
                );
            }
            for row in x.rows() / 4 * 4..x.rows() {
                product_of_panel::<F, 1>(path, panel, (&x, row), scratch, [y(row)]);
            }
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

/// The rows of a panel with R rows of x from `row` on.
fn product_of_panel<F: Kernel, const R: usize>(
    path: Path,
    panel: &[u8],
    (x, row): (&Activations, usize),
    scratch: &mut [f32],
    mut y: [&mut [f32]; R],
) {
    let width = x.columns / F::NUMBERS * F::BYTES;
    let x = Rows {
        groups: x.columns / F::GROUP,
        quants: std::array::from_fn(|i| x.quants(row + i)),
        scales: std::array::from_fn(|i| x.scales(row + i)),
        sums: std::array::from_fn(|i| x.sums(row + i)),
    };
    scratch.fill(0.); // what lies beyond a row's groups has to be 0
    let mut put = |i: usize, dots: [f32; R]| {
        y.iter_mut().zip(dots).for_each(|(y, dot)| y[i] = dot);
    };
    let rows = panel.chunks_exact(width).enumerate();
    match path {
        Path::Plain => {
            vectorized!(rows.for_each(|(i, w)| put(i, dots::<F, R>(w, &x, scratch))));
        }
        #[cfg(target_arch = "x86_64")]
        Path::Avx2(avx2) => avx2.vectorize(crate::ops::cpu::Loops(|| {
            rows.for_each(|(i, w)| put(i, x86::dots::<F, _, R>(avx2, w, &x, scratch)));
        })),
        #[cfg(target_arch = "x86_64")]
        Path::Vnni(vnni) => vnni.vectorize(crate::ops::cpu::Loops(|| {
            rows.for_each(|(i, w)| put(i, x86::dots::<F, _, R>(vnni, w, &x, scratch)));
        })),
    }
}

/// R rows of x.
pub(super) struct Rows<'a, const R: usize> {
    /// Groups of a row.
    pub(super) groups: usize,
    pub(super) quants: [&'a [i8]; R],
    pub(super) scales: [&'a [f32]; R],
    pub(super) sums: [&'a [f32]; R],
}

/// One row of W with R rows of x, in plain loops.
#[inline(always)]
fn dots<F: Format, const R: usize>(w: &[u8], x: &Rows<'_, R>, scratch: &mut [f32]) -> [f32; R] {
    let (scales, rest) = scratch.split_at_mut(x.groups);
    let offsets = &mut rest[..x.groups];
    F::scales(w, scales, offsets);
    let mut y = [0.; R];
    for i in 0..R {
        for (offset, sum) in offsets.iter().zip(x.sums[i]) {
            y[i] += offset * sum;
        }
    }
    let mut quants = [0i8; 256];
    for (block, w) in w.chunks_exact(F::BYTES).enumerate() {
        F::quants(w, &mut quants[..F::NUMBERS]);
        for (group, q) in quants[..F::NUMBERS].chunks_exact(F::GROUP).enumerate() {
            let group = block * (F::NUMBERS / F::GROUP) + group;
            for i in 0..R {
                let p = &x.quants[i][group * F::GROUP..][..F::GROUP];
                let dot: i32 = q.iter().zip(p).map(|(&q, &p)| i32::from(q) * i32::from(p)).sum();
                y[i] += dot as f32 * (scales[group] * x.scales[i][group]);
            }
        }
    }
    y
}
