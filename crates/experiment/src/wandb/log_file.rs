//! 4.5 File of a W&B run: a W&B header, then LevelDB's log format.
//!
//! The file is divided into blocks of 32 KiB. A record that does not fit in the rest of its block
//! continues in the next, so a reader can resynchronize at any block. Each fragment has a frame,
//! which never crosses a block:
//!
//! ```text
//! crc32 of type and data: u32 | length: u16 | type: u8 | data          (little-endian)
//! type: full 1, first 2, middle 3, last 4
//! ```
//!
//! LevelDB uses crc32c; W&B uses crc32.
//! <https://github.com/google/leveldb/blob/main/doc/log_format.md>

use crc::{CRC_32_ISO_HDLC, Crc};

const CRC32: Crc<u32> = Crc::<u32>::new(&CRC_32_ISO_HDLC);

/// File header: identifier, magic number 0xBEE1, version 0.
pub(crate) const HEADER: &[u8; 7] = b":W&B\xe1\xbe\x00";

const BLOCK_BYTES: usize = 32 * 1024;
const FRAME_HEADER_BYTES: usize = 7;

/// Framed `data`, for a file that has `offset` bytes so far.
pub(crate) fn frame_record(offset: usize, data: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(data.len() + FRAME_HEADER_BYTES);
    let (mut rest, mut is_first) = (data, true);
    loop {
        let mut left_in_block = BLOCK_BYTES - (offset + bytes.len()) % BLOCK_BYTES;
        if left_in_block < FRAME_HEADER_BYTES {
            bytes.resize(bytes.len() + left_in_block, 0);
            left_in_block = BLOCK_BYTES;
        }
        let (fragment, after) = rest.split_at(rest.len().min(left_in_block - FRAME_HEADER_BYTES));
        let kind = match (is_first, after.is_empty()) {
            (true, true) => 1,
            (true, false) => 2,
            (false, false) => 3,
            (false, true) => 4,
        };
        let mut crc = CRC32.digest();
        crc.update(&[kind]);
        crc.update(fragment);
        bytes.extend(crc.finalize().to_le_bytes());
        bytes.extend((fragment.len() as u16).to_le_bytes());
        bytes.push(kind);
        bytes.extend(fragment);
        if after.is_empty() {
            return bytes;
        }
        (rest, is_first) = (after, false);
    }
}
