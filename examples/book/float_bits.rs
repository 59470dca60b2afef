//! Chapter 4: a number as bits of f32, bf16 and f16.

use anyhow::Result;
use candle_core::DType;
use plotters::prelude::*;
use plotters::style::text_anchor::HPos;

use crate::artifacts::Artifact;
use crate::plot::{self, INK, PALETTE};
use crate::precision::rounded;

/// The number.
const X: f64 = 1.003;

/// Bits of a positive normal number `x`, which `dtype` holds exactly: sign, exponent, mantissa.
pub(crate) fn bits(x: f64, dtype: DType) -> (u32, String) {
    let f32_bits = (x as f32).to_bits();
    match dtype {
        DType::BF16 => (8, format!("{:016b}", f32_bits >> 16)),
        DType::F16 => {
            let exponent = (f32_bits >> 23) - 127 + 15;
            (5, format!("0{exponent:05b}{:010b}", f32_bits >> 13 & 0x3ff))
        }
        _ => (8, format!("{f32_bits:032b}")),
    }
}

/// The figure.
pub(crate) fn artifacts() -> Result<Vec<Artifact>> {
    let svg = plot::figure(190, |area| {
        let types = [("f32", DType::F32), ("bf16", DType::BF16), ("f16", DType::F16)];
        for (i, (name, dtype)) in (0..).zip(types) {
            let (value, top) = (rounded(X, dtype)?, 34 + 50 * i);
            let (n_exponent, bits) = bits(value, dtype);
            plot::text(area, name, (34, top + 10), HPos::Right)?;
            for (place, bit) in (0..).zip(bits.chars()) {
                let color = match place {
                    0 => 3,
                    _ if place <= n_exponent as i32 => 1,
                    _ => 0,
                };
                let corner = (44 + 15 * place, top);
                let opposite = (corner.0 + 15, top + 20);
                let strength = if bit == '1' { 0.6 } else { 0.15 };
                let fill = PALETTE[color].mix(strength).filled();
                area.draw(&Rectangle::new([corner, opposite], fill))?;
                area.draw(&Rectangle::new([corner, opposite], INK.mix(0.25).stroke_width(1)))?;
                plot::text(area, &bit.to_string(), (corner.0 + 7, top + 10), HPos::Center)?;
            }
            let end = 44 + 15 * bits.len() as i32;
            if end < 400 {
                plot::text(
                    area,
                    &format!("= {}", plot::plain(value)),
                    (end + 8, top + 10),
                    HPos::Left,
                )?;
            }
        }
        plot::text(area, "1.003", (300, 12), HPos::Center)?;
        for (i, (name, color)) in (0..).zip([("sign", 3), ("exponent", 1), ("mantissa", 0)]) {
            let x = 150 + 120 * i;
            let square =
                Rectangle::new([(x, 172), (x + 12, 184)], PALETTE[color].mix(0.6).filled());
            area.draw(&square)?;
            plot::text(area, name, (x + 18, 178), HPos::Left)?;
        }
        Ok(())
    })?;
    Ok(vec![Artifact::figure("float_bits", svg)])
}
