//! bf16 products on AVX-512 with its BF16 extension.
//!
//! `vdpbf16ps` multiplies 16 pairs of bf16 numbers and adds both products of each pair to a sum in
//! f32. So operands are packed as pairs that are neighbors along the inner dimension, a u32 each.
//! The result is computed in tiles of 12 rows and 32 columns, whose sums stay in 24 registers:
//!
//! ```text
//!            b: panels of 32 columns          one step of a tile, for a pair of inner indices:
//!            ┌───────────┬──                  sums[i][j] += a[i] · b[j]
//!            │ pairs     │                    12 broadcasts of a, 2 vectors of 16 from b
//! a: panels  └───────────┴──
//! of 12 rows ┌───────────┬──
//! ┌───────┐  │ tile      │
//! │ pairs │  │ 12 x 32   │
//! └───────┘  └───────────┴──
//! ```
//!
//! a is packed once, by all threads; b by the task that multiplies it, strip by strip. Every
//! element is summed in the same order, whatever the shape of the product and the number of
//! threads.

#![allow(unsafe_code)] // vector instructions of one kind of CPU, and stores into parts of a matrix

use std::arch::x86_64::*;
use std::cell::Cell;
use std::mem::{MaybeUninit, transmute};

use super::Operand;
use super::pack::{ROWS, pack, pack_panels};
use crate::kernels::matrix::Matrix;
use crate::kernels::parts::SharedSlice;
use crate::kernels::pool;

/// Columns of a tile.
const COLUMNS: usize = 32;
/// Pairs that are multiplied at a time: a panel of a, 24 KiB, stays in the first cache.
const BLOCK: usize = 512;
/// Columns of a strip of b, of which a block, 256 KiB, stays in the second cache.
const STRIP: usize = 4 * COLUMNS;
/// Fewest rows of a task, so that packing its strip of b takes little of its time.
const MIN_TASK_ROWS: usize = 20 * ROWS;

/// True if this CPU has the instructions.
pub(super) fn is_available() -> bool {
    is_x86_feature_detected!("avx512f")
        && is_x86_feature_detected!("avx512bw")
        && is_x86_feature_detected!("avx512bf16")
}

/// See [`super::append_matmul`].
///
/// # Panics
/// When the CPU lacks the instructions.
pub(super) fn append_matmul<A: Operand, B: Operand>(
    c: &mut Vec<f32>,
    a: Matrix<'_, A>,
    b: Matrix<'_, B>,
    bias: Option<&[f32]>,
) {
    assert!(is_available(), "AVX512-BF16 on a CPU that lacks it");
    assert_eq!(a.columns(), b.rows(), "the inner sizes of a product differ");
    let (m, n, pairs) = (a.rows(), b.columns(), a.columns().div_ceil(2));
    let packed_a = pack_panels(a, pairs);
    c.reserve_exact(m * n);
    if m * n > 0 {
        let c = SharedSlice::new(&mut c.spare_capacity_mut()[..m * n]);
        let (strips, threads) = (n.div_ceil(STRIP), pool::threads());
        // Several tasks per thread, and as many for each: at the end, none waits long for another.
        let mut parts = (4 * threads).div_ceil(strips);
        while !(strips * parts).is_multiple_of(threads) {
            parts += 1;
        }
        let height = m.div_ceil(parts).max(MIN_TASK_ROWS).next_multiple_of(ROWS);
        pool::for_each(strips * m.div_ceil(height), |task| {
            let (column, row) = (task % strips * STRIP, task / strips * height);
            let part = Part {
                row,
                rows: height.min(m - row),
                column,
                columns: STRIP.min(n - column),
                width: n,
            };
            // SAFETY: the CPU has the instructions, as checked above.
            unsafe { multiply(&c, part, &packed_a, b, pairs, bias) };
        });
    }
    // SAFETY: the parts cover the new elements, and each has been written.
    unsafe { c.set_len(c.len() + m * n) };
}

/// Part of the result that a task computes.
#[derive(Clone, Copy)]
struct Part {
    row: usize,
    rows: usize,
    column: usize,
    columns: usize,
    /// Columns of the whole result.
    width: usize,
}

thread_local! {
    /// Packed strip of b, which each thread keeps for the next product.
    static PACKED_B: Cell<Vec<u32>> = const { Cell::new(Vec::new()) };
}

/// Computes a part of the result, block by block of the inner dimension.
#[target_feature(enable = "avx512f,avx512bw,avx512bf16")]
fn multiply<B: Operand>(
    c: &SharedSlice<'_, MaybeUninit<f32>>,
    part: Part,
    packed_a: &[u32],
    b: Matrix<'_, B>,
    pairs: usize,
    bias: Option<&[f32]>,
) {
    let mut packed_b = PACKED_B.take();
    let columns = b.columns_from(part.column, part.columns).transposed(); // (columns, k)
    // With k = 0 there is one block, without pairs: the result is the bias.
    for first in (0..pairs.max(1)).step_by(BLOCK) {
        let block = BLOCK.min(pairs - first);
        packed_b.clear();
        packed_b.reserve(part.columns.div_ceil(COLUMNS) * block * COLUMNS);
        for column in (0..part.columns).step_by(COLUMNS) {
            let panel = columns.rows_from(column, COLUMNS.min(part.columns - column));
            let start = packed_b.len();
            let room = &mut packed_b.spare_capacity_mut()[..block * COLUMNS];
            pack::<B, COLUMNS>(room, panel, first);
            // SAFETY: `pack` wrote all of the room.
            unsafe { packed_b.set_len(start + block * COLUMNS) };
        }
        for row in (0..part.rows).step_by(ROWS) {
            let start = ((part.row + row) / ROWS * pairs + first) * ROWS;
            let a = &packed_a[start..][..block * ROWS];
            for column in (0..part.columns).step_by(COLUMNS) {
                let b = &packed_b[column * block..][..block * COLUMNS];
                let sums = tile(a, b);
                let columns = COLUMNS.min(part.columns - column);
                let first_column = part.column + column;
                let bias = bias.map(|bias| bias[first_column..][..columns].as_ptr());
                for (i, sums) in sums.into_iter().enumerate().take(part.rows - row) {
                    let at = (part.row + row + i) * part.width + first_column;
                    // SAFETY: this is the only task that works on the part. What is read has as
                    // many elements as the row of `c`, and those of `c` have been written in the
                    // first block.
                    unsafe {
                        let c = c.range(at, columns).as_mut_ptr().cast::<f32>();
                        let before = if first == 0 { bias } else { Some(c.cast_const()) };
                        store(c, columns, before, sums);
                    }
                }
            }
        }
    }
    PACKED_B.set(packed_b);
}

/// Writes the sum of `before` (0 if there is none) and `sums` to the first `n` elements of `c`.
///
/// # Safety
/// `c` and `before` must have n elements, and those of `before` values.
#[target_feature(enable = "avx512f")]
#[inline]
unsafe fn store(c: *mut f32, n: usize, before: Option<*const f32>, sums: [__m512; 2]) {
    for (sums, start) in sums.into_iter().zip([0, 16]) {
        let mask = match n.saturating_sub(start) {
            n @ ..16 => (1 << n) - 1,
            _ => __mmask16::MAX,
        };
        // SAFETY: the mask selects elements below n.
        unsafe {
            let before = match before {
                Some(before) => _mm512_maskz_loadu_ps(mask, before.wrapping_add(start)),
                None => _mm512_setzero_ps(),
            };
            _mm512_mask_storeu_ps(c.wrapping_add(start), mask, _mm512_add_ps(before, sums));
        }
    }
}

/// Products of a panel of a, (pairs, 12), and a panel of b, (pairs, 32).
#[target_feature(enable = "avx512f,avx512bf16")]
#[inline]
fn tile(a: &[u32], b: &[u32]) -> [[__m512; 2]; ROWS] {
    let mut sums = [[_mm512_setzero_ps(); 2]; ROWS];
    for (a, b) in a.as_chunks::<ROWS>().0.iter().zip(b.as_chunks::<COLUMNS>().0) {
        // SAFETY: 32 numbers of 32 bits are two vectors, in which all bits are valid.
        let b: [__m512bh; 2] = unsafe { transmute(*b) };
        for (sums, &a) in sums.iter_mut().zip(a) {
            // SAFETY: the types are vectors of 512 bits, in which all bits are valid.
            let a: __m512bh = unsafe { transmute(_mm512_set1_epi32(a as i32)) };
            sums[0] = _mm512_dpbf16_ps(sums[0], a, b[0]);
            sums[1] = _mm512_dpbf16_ps(sums[1], a, b[1]);
        }
    }
    sums
}
