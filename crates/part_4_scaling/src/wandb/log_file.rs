//! 4.5 The file of a W&B run: LevelDB's log format behind a header of its own.
//!
//! The file is cut into blocks of 32 KiB. A record that does not fit into what is left of its block goes on in the next,
//! so that a reader can find its place again at any block. Each piece has a frame, which never crosses a block:
//!
//! ```text
//! crc32 of type and data: u32 | length: u16 | type: u8 (whole 1, first 2, middle 3, last 4) | data      little-endian
//! ```
//!
//! LevelDB has crc32c there; W&B does not. <https://github.com/google/leveldb/blob/main/doc/log_format.md>

use crc::{CRC_32_ISO_HDLC, Crc};

const CRC32: Crc<u32> = Crc::<u32>::new(&CRC_32_ISO_HDLC);

/// What a file begins with: a name, the magic number 0xBEE1, version 0.
pub(crate) const HEADER: &[u8; 7] = b":W&B\xe1\xbe\x00";

const BLOCK_BYTES: usize = 32 * 1024;
const FRAME_HEADER_BYTES: usize = 7;

/// `data` as it stands in a file that has `offset` bytes so far.
pub(crate) fn frame_record(offset: usize, data: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(data.len() + FRAME_HEADER_BYTES);
    let (mut rest, mut is_first) = (data, true);
    loop {
        let mut left = BLOCK_BYTES - (offset + bytes.len()) % BLOCK_BYTES;
        if left < FRAME_HEADER_BYTES {
            bytes.resize(bytes.len() + left, 0);
            left = BLOCK_BYTES;
        }
        let (piece, after) = rest.split_at(rest.len().min(left - FRAME_HEADER_BYTES));
        let kind = match (is_first, after.is_empty()) {
            (true, true) => 1,
            (true, false) => 2,
            (false, false) => 3,
            (false, true) => 4,
        };
        let mut crc = CRC32.digest();
        crc.update(&[kind]);
        crc.update(piece);
        bytes.extend(crc.finalize().to_le_bytes());
        bytes.extend((piece.len() as u16).to_le_bytes());
        bytes.push(kind);
        bytes.extend(piece);
        if after.is_empty() {
            return bytes;
        }
        (rest, is_first) = (after, false);
    }
}
