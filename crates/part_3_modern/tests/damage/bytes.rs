//! Random damage to bytes: changed bytes, extreme numbers, truncation, repetition.

use proptest::prelude::*;
use proptest::sample::Index;

/// Change at a random offset.
#[derive(Debug, Clone)]
pub(crate) enum Damage {
    Byte(Index, u8),
    U64(Index, u64),
    U32(Index, u32),
    Truncate(Index),
    Repeat(Index, u8),
}

/// Extreme numbers that may overflow in sums or products.
const EXTREME: [u64; 9] =
    [0, 1, 1 << 31, (1 << 32) - 1, 1 << 33, 1 << 40, 1 << 61, 1 << 63, u64::MAX];

pub(crate) fn damage() -> impl Strategy<Value = Vec<Damage>> {
    let at = any::<Index>;
    let one = prop_oneof![
        4 => (at(), any::<u8>()).prop_map(|(at, byte)| Damage::Byte(at, byte)),
        2 => (at(), prop::sample::select(&EXTREME[..])).prop_map(|(at, n)| Damage::U64(at, n)),
        2 => (at(), prop::sample::select(&EXTREME[..]))
            .prop_map(|(at, n)| Damage::U32(at, n as u32)),
        1 => at().prop_map(Damage::Truncate),
        1 => (at(), 1u8..30).prop_map(|(at, n)| Damage::Repeat(at, n)),
    ];
    prop::collection::vec(one, 1..4)
}

/// Bytes with `damages` applied to the first `header_len` of them, which describe the rest of a
/// file.
pub(crate) fn damaged(mut bytes: Vec<u8>, header_len: usize, damages: &[Damage]) -> Vec<u8> {
    for damage in damages {
        let len = bytes.len().min(header_len);
        let at = |index: &Index| if len == 0 { 0 } else { index.index(len) };
        let mut overwrite = |at: usize, new: &[u8]| {
            let end = (at + new.len()).min(bytes.len());
            bytes[at.min(end)..end].copy_from_slice(&new[..end - at.min(end)]);
        };
        match damage {
            Damage::Byte(index, byte) => overwrite(at(index), &[*byte]),
            Damage::U64(index, number) => overwrite(at(index), &number.to_le_bytes()),
            Damage::U32(index, number) => overwrite(at(index), &number.to_le_bytes()),
            Damage::Truncate(index) => bytes.truncate(at(index)),
            Damage::Repeat(index, n) => {
                let start = at(index);
                let end = (start + usize::from(*n)).min(bytes.len());
                let repeated = bytes[start..end].to_vec();
                bytes.splice(start..start, repeated);
            }
        }
    }
    bytes
}
