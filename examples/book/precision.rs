//! Chapter 4: numbers in 16 bits, by rounding them there and back.

use anyhow::Result;
use candle_core::{DType, Device, Tensor};

use crate::artifacts::Artifact;

/// `x` rounded to a type and back.
pub(crate) fn rounded(x: f64, dtype: DType) -> Result<f64> {
    let x = Tensor::new(&[x as f32], &Device::Cpu)?.to_dtype(dtype)?.to_dtype(DType::F32)?;
    Ok(f64::from(x.get(0)?.to_scalar::<f32>()?))
}

fn text(x: f64) -> String {
    match x {
        0. => "0".to_string(),
        x if x.is_infinite() => "∞".to_string(),
        x if !(1e-3..1e6).contains(&x.abs()) => format!("{x:.3e}"),
        x => format!("{x:.6}").trim_end_matches('0').trim_end_matches('.').to_string(),
    }
}

/// The table.
pub(crate) fn artifacts() -> Result<Vec<Artifact>> {
    let numbers = [0.1, 1.003, 257., 70_000., 3e-5, 1e-8, 1e-20];
    let rows = numbers.map(|x| -> Result<Vec<String>> {
        let of = |dtype| Ok::<_, anyhow::Error>(text(rounded(x, dtype)?));
        Ok(vec![text(x), of(DType::BF16)?, of(DType::F16)?])
    });
    let rows = rows.into_iter().collect::<Result<Vec<_>>>()?;
    Ok(vec![Artifact::table("precision", &["number", "in bf16", "in f16"], &rows)])
}
