//! 4.5 A record of an event file: an `Event` message (when, at which step, what) in a TFRecord frame, whose checksums tell a
//! whole record from a torn one.
//!
//! ```text
//! length: u64 | masked crc32c of length: u32 | data | masked crc32c of data: u32      all little-endian
//! ```
//!
//! <https://github.com/tensorflow/tensorboard/blob/master/tensorboard/compat/proto/event.proto>

use crc::{CRC_32_ISCSI, Crc};

use crate::protobuf::Message;

/// CRC-32C, by Castagnoli's polynomial.
pub(crate) const CRC32C: Crc<u32> = Crc::<u32>::new(&CRC_32_ISCSI);

/// `data` in its frame.
pub(crate) fn tfrecord(data: &[u8]) -> Vec<u8> {
    let length = (data.len() as u64).to_le_bytes();
    let crc = |bytes: &[u8]| mask_crc(CRC32C.checksum(bytes)).to_le_bytes();
    [&length[..], &crc(&length), data, &crc(data)].concat()
}

/// Checksums are stored masked, since the checksum of bytes that hold their own checksum is a poor one.
fn mask_crc(crc: u32) -> u32 {
    crc.rotate_right(15).wrapping_add(0xa282_ead8)
}

/// The event that begins every file.
pub(crate) fn file_version_event(wall_time: f64) -> Message {
    Message::new().double(1, wall_time).bytes(3, "brain.Event:2") // wall_time, file_version
}

/// A `Summary` of one `Value`.
pub(crate) fn summary_event(wall_time: f64, step: usize, value: &Message) -> Message {
    let summary = Message::new().bytes(1, value); // value
    Message::new().double(1, wall_time).varint(2, step as u64).bytes(5, summary) // wall_time, step, summary
}

/// The `SessionLog` of a start.
pub(crate) fn session_start_event(wall_time: f64, step: usize) -> Message {
    let start = Message::new().varint(1, 1); // status = START
    Message::new().double(1, wall_time).varint(2, step as u64).bytes(7, start) // ..., session_log
}
