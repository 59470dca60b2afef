//! Routing table of a layer: the load of each expert and its most frequent bytes.

use std::fmt::Write;

use crate::expert_load::ExpertLoad;

/// Table of a layer with the selected experts `experts: (N, K)`: the fraction of the assignments to
/// each expert, and the bytes of `text` routed to it, the most frequent first.
pub fn expert_usage_table(text: &[u8], experts: &[u32], n_expert: usize) -> String {
    let k = experts.len() / text.len().max(1);
    let load = ExpertLoad::new(experts, n_expert, 0);
    let mut table = String::from("  expert    load   most frequent bytes\n");
    for (expert, fraction) in load.fractions().into_iter().enumerate() {
        let mut counts = [0usize; 256];
        for (&byte, selected) in text.iter().zip(experts.chunks_exact(k.max(1))) {
            counts[byte as usize] += usize::from(selected.contains(&(expert as u32)));
        }
        let mut bytes: Vec<u8> = (0..=255).filter(|&byte| counts[byte as usize] > 0).collect();
        bytes.sort_by_key(|&byte| std::cmp::Reverse(counts[byte as usize]));
        let bytes: Vec<String> = bytes.iter().take(12).map(|&byte| display_byte(byte)).collect();
        let _ = writeln!(table, "  {expert:>6} {:>6.1}%   {}", 100. * fraction, bytes.join(" "));
    }
    table
}

/// Displayed form of a byte, one character wide.
pub fn display_byte(byte: u8) -> String {
    match byte {
        b' ' => "␣".into(),
        b'\n' => "⏎".into(),
        0x21..=0x7e => char::from(byte).into(),
        _ => "·".into(),
    }
}
