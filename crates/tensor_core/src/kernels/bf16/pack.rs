//! Packing of operands as pairs of bf16, in panels of rows.

#![allow(unsafe_code)] // vector instructions of one kind of CPU

use std::arch::x86_64::*;
use std::mem::{MaybeUninit, transmute};

use super::Operand;
use crate::kernels::for_each_part;
use crate::kernels::matrix::Matrix;

/// Rows of a panel of the left operand, and of a tile of the result.
pub(super) const ROWS: usize = 12;
/// Panels that a task packs.
const PANELS_PER_TASK: usize = 8;

/// Panels of 12 rows of `a`, one after the other: (panels, pairs, 12).
pub(super) fn pack_panels<A: Operand>(a: Matrix<'_, A>, pairs: usize) -> Vec<u32> {
    let panel = pairs * ROWS;
    let n = a.rows().div_ceil(ROWS) * panel;
    let mut packed = Vec::with_capacity(n);
    if n > 0 {
        let panels = &mut packed.spare_capacity_mut()[..n];
        for_each_part([(panels, PANELS_PER_TASK * panel)], |task, [panels]| {
            let row = task * PANELS_PER_TASK * ROWS;
            let rows = a.rows_from(row, (PANELS_PER_TASK * ROWS).min(a.rows() - row));
            // SAFETY: the caller checked that the CPU has the instructions.
            unsafe {
                match rows.has_adjacent_rows() {
                    true => pack_adjacent_rows(panels, rows, pairs),
                    false => pack_rows(panels, rows, pairs),
                }
            }
        });
    }
    // SAFETY: every panel has been packed.
    unsafe { packed.set_len(n) };
    packed
}

/// Panels of 12 rows whose elements are adjacent in memory.
#[target_feature(enable = "avx512f,avx512bw,avx512bf16")]
fn pack_rows<A: Operand>(panels: &mut [MaybeUninit<u32>], a: Matrix<'_, A>, pairs: usize) {
    for (i, panel) in panels.chunks_exact_mut(pairs * ROWS).enumerate() {
        let rows = a.rows_from(i * ROWS, ROWS.min(a.rows() - i * ROWS));
        pack::<A, ROWS>(panel, rows, 0);
    }
}

/// Up to 8 panels of 12 rows that are adjacent in memory: each pair of all of them at once, in
/// whole vectors.
#[target_feature(enable = "avx512f,avx512bw,avx512bf16")]
fn pack_adjacent_rows<A: Operand>(panels: &mut [MaybeUninit<u32>], a: Matrix<'_, A>, pairs: usize) {
    for pair in 0..pairs {
        let lanes = pair_of_columns::<A, { PANELS_PER_TASK * ROWS }>(a, pair);
        let panels = panels.chunks_exact_mut(pairs * ROWS);
        for (panel, lanes) in panels.zip(lanes.as_chunks::<ROWS>().0) {
            panel[pair * ROWS..][..ROWS].write_copy_of_slice(lanes);
        }
    }
}

/// Pairs of columns 2 · `pair` and 2 · `pair` + 1 of `lanes`, whose rows are adjacent in memory; 0
/// beyond the last row and the last column.
#[target_feature(enable = "avx512f,avx512bw,avx512bf16")]
#[inline]
fn pair_of_columns<T: Operand, const R: usize>(lanes: Matrix<'_, T>, pair: usize) -> [u32; R] {
    let k = 2 * pair;
    let even = lanes.column(k);
    let odd = if k + 1 < lanes.columns() { lanes.column(k + 1) } else { &[] };
    let mut pairs = [0; R];
    let whole = even.as_chunks::<16>().0.iter().zip(odd.as_chunks::<16>().0);
    for (pairs, (even, odd)) in pairs.as_chunks_mut::<16>().0.iter_mut().zip(whole.clone()) {
        // SAFETY: this CPU has the instructions, and both types are 512 bits.
        *pairs = unsafe { transmute::<__m512i, [u32; 16]>(T::interleaved(even, odd)) };
    }
    let rest = 16 * whole.len().min(R / 16)..R.min(even.len());
    for i in rest {
        let odd = odd.get(i).map_or(0, |odd| odd.upper_bits());
        pairs[i] = even[i].upper_bits() >> 16 | odd;
    }
    pairs
}

/// Rows of `lanes`, at most R, as pairs of bf16 from the pair `first` on: (pairs, R), as many as
/// `packed` has room for. Beyond the last row and the last column they are 0.
#[target_feature(enable = "avx512f,avx512bw,avx512bf16")]
pub(super) fn pack<T: Operand, const R: usize>(
    packed: &mut [MaybeUninit<u32>],
    lanes: Matrix<'_, T>,
    first: usize,
) {
    let packed = packed.as_chunks_mut::<R>().0;
    if lanes.has_adjacent_rows() {
        for (pair, packed) in packed.iter_mut().enumerate() {
            packed.write_copy_of_slice(&pair_of_columns::<T, R>(lanes, first + pair));
        }
        return;
    }
    let n = lanes.rows();
    for (block, packed) in packed.chunks_mut(16).enumerate() {
        let k = 2 * (first + 16 * block);
        for lane in (0..R).step_by(16) {
            let mut rows = [_mm512_setzero_si512(); 16]; // (lanes, pairs)
            for (i, pairs) in rows.iter_mut().enumerate().take(n.saturating_sub(lane)) {
                let numbers = &lanes.row(lane + i)[k..];
                let last;
                let numbers = match numbers.first_chunk::<32>() {
                    Some(numbers) => numbers,
                    None => {
                        let mut padded = [T::ZERO; 32];
                        padded[..numbers.len()].copy_from_slice(numbers);
                        last = padded;
                        &last
                    }
                };
                // SAFETY: this CPU has the instructions.
                *pairs = unsafe { T::pairs(numbers) };
            }
            // SAFETY: both types are 16 x 16 numbers of 32 bits, for which all bits are valid.
            let columns: [[u32; 16]; 16] = unsafe { transmute(transposed(rows)) };
            let width = 16.min(R - lane);
            for (packed, column) in packed.iter_mut().zip(&columns) {
                packed[lane..lane + width].write_copy_of_slice(&column[..width]);
            }
        }
    }
}

/// Transpose of 16 rows of 16 numbers: in four rounds, numbers, pairs, quarters and halves of the
/// rows change places.
#[target_feature(enable = "avx512f")]
fn transposed(rows: [__m512i; 16]) -> [__m512i; 16] {
    let mut t = rows;
    for i in (0..16).step_by(2) {
        (t[i], t[i + 1]) = (
            _mm512_unpacklo_epi32(rows[i], rows[i + 1]),
            _mm512_unpackhi_epi32(rows[i], rows[i + 1]),
        );
    }
    let mut u = t;
    for i in (0..16).step_by(4) {
        u[i] = _mm512_unpacklo_epi64(t[i], t[i + 2]);
        u[i + 1] = _mm512_unpackhi_epi64(t[i], t[i + 2]);
        u[i + 2] = _mm512_unpacklo_epi64(t[i + 1], t[i + 3]);
        u[i + 3] = _mm512_unpackhi_epi64(t[i + 1], t[i + 3]);
    }
    for i in 0..4 {
        let [a, b, c, d] = [u[i], u[i + 4], u[i + 8], u[i + 12]];
        let (ab_even, ab_odd) =
            (_mm512_shuffle_i32x4::<0x88>(a, b), _mm512_shuffle_i32x4::<0xdd>(a, b));
        let (cd_even, cd_odd) =
            (_mm512_shuffle_i32x4::<0x88>(c, d), _mm512_shuffle_i32x4::<0xdd>(c, d));
        t[i] = _mm512_shuffle_i32x4::<0x88>(ab_even, cd_even);
        t[i + 4] = _mm512_shuffle_i32x4::<0x88>(ab_odd, cd_odd);
        t[i + 8] = _mm512_shuffle_i32x4::<0xdd>(ab_even, cd_even);
        t[i + 12] = _mm512_shuffle_i32x4::<0xdd>(ab_odd, cd_odd);
    }
    t
}
