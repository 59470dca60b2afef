//! Products of blocks with bytes as plain loops: for every CPU, and what the others are tested against.

use super::activations::Rows;
use super::format::Format;
use super::small_batch::{Dots, Row};

/// The plain loops.
#[derive(Clone, Copy)]
pub(super) struct Plain;

impl<F: Format> Dots<F> for Plain {
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
        for (block, blocks) in w.blocks.chunks_exact(F::BYTES).enumerate() {
            F::quants(blocks, &mut quants[..F::NUMBERS]);
            for (group, q) in quants[..F::NUMBERS].chunks_exact(F::GROUP).enumerate() {
                let group = block * (F::NUMBERS / F::GROUP) + group;
                for (i, y) in y.iter_mut().enumerate() {
                    let p = &x.quants[i][group * F::GROUP..][..F::GROUP];
                    let dot: i32 =
                        q.iter().zip(p).map(|(&q, &p)| i32::from(q) * i32::from(p)).sum();
                    *y += dot as f32 * (w.scales[group] * x.scales[i][group]);
                }
            }
        }
        y
    }
}
