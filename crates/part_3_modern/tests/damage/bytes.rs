//! Ways to damage bytes: some change, a number becomes a treacherous one, the end is cut off.

use proptest::prelude::*;
use proptest::sample::Index;

/// A change at a place within the bytes.
#[derive(Debug, Clone)]
pub(crate) enum Damage {
    Byte(Index, u8),
    Number(Index, u64),
    Small(Index, u32),
    Cut(Index),
    Doubled(Index, u8),
}

/// Numbers that overflow, in sums or in products, or are none.
const TREACHEROUS: [u64; 9] =
    [0, 1, 1 << 31, (1 << 32) - 1, 1 << 33, 1 << 40, 1 << 61, 1 << 63, u64::MAX];

pub(crate) fn damage() -> impl Strategy<Value = Vec<Damage>> {
    let at = any::<Index>;
    let one = prop_oneof![
        4 => (at(), any::<u8>()).prop_map(|(at, byte)| Damage::Byte(at, byte)),
        2 => (at(), prop::sample::select(&TREACHEROUS[..])).prop_map(|(at, n)| Damage::Number(at, n)),
        2 => (at(), prop::sample::select(&TREACHEROUS[..])).prop_map(|(at, n)| Damage::Small(at, n as u32)),
        1 => at().prop_map(Damage::Cut),
        1 => (at(), 1u8..30).prop_map(|(at, n)| Damage::Doubled(at, n)),
    ];
    prop::collection::vec(one, 1..4)
}

/// Applies `damages` to the first `within` bytes, where a file says what the rest is.
pub(crate) fn damaged(mut bytes: Vec<u8>, within: usize, damages: &[Damage]) -> Vec<u8> {
    for damage in damages {
        let len = bytes.len().min(within);
        let at = |index: &Index| if len == 0 { 0 } else { index.index(len) };
        let mut put = |at: usize, new: &[u8]| {
            let end = (at + new.len()).min(bytes.len());
            bytes[at.min(end)..end].copy_from_slice(&new[..end - at.min(end)]);
        };
        match damage {
            Damage::Byte(index, byte) => put(at(index), &[*byte]),
            Damage::Number(index, number) => put(at(index), &number.to_le_bytes()),
            Damage::Small(index, number) => put(at(index), &number.to_le_bytes()),
            Damage::Cut(index) => bytes.truncate(at(index)),
            Damage::Doubled(index, n) => {
                let start = at(index);
                let end = (start + usize::from(*n)).min(bytes.len());
                let again = bytes[start..end].to_vec();
                bytes.splice(start..start, again);
            }
        }
    }
    bytes
}
