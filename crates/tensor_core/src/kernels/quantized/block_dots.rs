//! Products of blocks with bytes: the operations that differ between the instruction sets, and
//! plain loops for them, the fallback for all CPUs and the reference for tests of the others.

use super::activations::Rows;
use super::format::Format;

/// Operations that differ between the instruction sets, for blocks of the format F.
pub(super) trait BlockDots<F>: Copy {
    /// Scale and offset of each group of blocks.
    fn scales(self, blocks: &[u8], scales: &mut [f32], offsets: &mut [f32]);

    /// Dot products of one row of W with R rows of bytes of x.
    fn dots<const R: usize>(self, w: Row<'_>, x: &Rows<'_, R>, scratch: &mut [f32]) -> [f32; R];
}

/// Row of W. The slices continue with the groups of the next row.
pub(super) struct Row<'a> {
    pub(super) blocks: &'a [u8],
    pub(super) scales: &'a [f32],
    pub(super) offsets: &'a [f32],
}

/// Plain loops, without explicit SIMD.
#[derive(Clone, Copy)]
pub(super) struct Plain;

impl<F: Format> BlockDots<F> for Plain {
    #[inline(always)]
    fn scales(self, blocks: &[u8], scales: &mut [f32], offsets: &mut [f32]) {
        F::scales(blocks, scales, offsets);
    }

    #[inline(always)]
    fn dots<const R: usize>(self, w: Row<'_>, x: &Rows<'_, R>, _: &mut [f32]) -> [f32; R] {
        let mut y = x.sums.map(|sums| {
            w.offsets.iter().zip(&sums[..x.groups]).map(|(offset, sum)| offset * sum).sum::<f32>()
        });
        let mut quants = [0i8; 256];
        for (block, blocks) in w.blocks.chunks_exact(F::BLOCK_BYTES).enumerate() {
            F::quants(blocks, &mut quants[..F::BLOCK_SIZE]);
            for (group, q) in quants[..F::BLOCK_SIZE].chunks_exact(F::GROUP_SIZE).enumerate() {
                let group = block * (F::BLOCK_SIZE / F::GROUP_SIZE) + group;
                for (i, y) in y.iter_mut().enumerate() {
                    let p = &x.quants[i][group * F::GROUP_SIZE..][..F::GROUP_SIZE];
                    let dot: i32 =
                        q.iter().zip(p).map(|(&q, &p)| i32::from(q) * i32::from(p)).sum();
                    *y += dot as f32 * (w.scales[group] * x.scales[i][group]);
                }
            }
        }
        y
    }
}
