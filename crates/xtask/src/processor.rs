//! Name and vector units of the processor, which a table of speeds needs beside it.

use std::fs;

/// Vector units that matter for matrix products, by their names in `/proc/cpuinfo`.
const UNITS: [(&str, &str); 6] = [
    ("avx2", "AVX2"),
    ("fma", "FMA"),
    ("avx512f", "AVX-512"),
    ("avx512_bf16", "AVX512-BF16"),
    ("amx_tile", "AMX"),
    ("amx_bf16", "AMX-BF16"),
];

/// Name of the processor and its vector units, as far as the system tells.
pub(crate) fn describe() -> String {
    let info = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let field = |name: &str| {
        let line = info.lines().find(|line| line.starts_with(name))?;
        Some(line.split_once(':')?.1.trim())
    };
    let name = field("model name").unwrap_or(std::env::consts::ARCH);
    let flags: Vec<&str> = field("flags").unwrap_or_default().split(' ').collect();
    let units = UNITS.iter().filter(|(flag, _)| flags.contains(flag)).map(|(_, unit)| *unit);
    [name].into_iter().chain(units).collect::<Vec<_>>().join(", ")
}
