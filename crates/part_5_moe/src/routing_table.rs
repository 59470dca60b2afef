//! Who takes what: the experts of a layer, their load, and the bytes that they take most often.

use std::fmt::Write;

use crate::expert_load::ExpertLoad;

/// A table of a layer: each expert's share of the choices `experts: (N, K)`, and the bytes of `text` that chose it, the most
/// frequent first.
pub fn routing_table(text: &[u8], experts: &[u32], n_expert: usize) -> String {
    let k = experts.len() / text.len().max(1);
    let load = ExpertLoad::new(experts, n_expert, 0);
    let mut table = String::from("  expert   share   takes most\n");
    for (expert, share) in load.fractions().into_iter().enumerate() {
        let mut counts = [0usize; 256];
        for (&byte, choices) in text.iter().zip(experts.chunks_exact(k.max(1))) {
            counts[byte as usize] += usize::from(choices.contains(&(expert as u32)));
        }
        let mut bytes: Vec<u8> = (0..=255).filter(|&byte| counts[byte as usize] > 0).collect();
        bytes.sort_by_key(|&byte| std::cmp::Reverse(counts[byte as usize]));
        let bytes: Vec<String> = bytes.iter().take(12).map(|&byte| display_byte(byte)).collect();
        let _ = writeln!(table, "  {expert:>6} {:>6.1}%   {}", 100. * share, bytes.join(" "));
    }
    table
}

/// A byte in one column.
pub fn display_byte(byte: u8) -> String {
    match byte {
        b' ' => "␣".into(),
        b'\n' => "⏎".into(),
        0x21..=0x7e => char::from(byte).into(),
        _ => "·".into(),
    }
}
