//! 4.5 Record of an event file: an `Event` message (time, step, content) in a TFRecord frame, whose
//! checksums distinguish a complete record from a torn one.
//!
//! ```text
//! length: u64 | masked crc32c of length: u32 | data | masked crc32c of data: u32   (little-endian)
//! ```
//!
//! <https://github.com/tensorflow/tensorboard/blob/master/tensorboard/compat/proto/event.proto>

use crc::{CRC_32_ISCSI, Crc};

use crate::protobuf::Message;

/// CRC-32C (Castagnoli).
pub(crate) const CRC32C: Crc<u32> = Crc::<u32>::new(&CRC_32_ISCSI);

/// Frame around `data`.
pub(crate) fn tfrecord(data: &[u8]) -> Vec<u8> {
    let length = (data.len() as u64).to_le_bytes();
    let crc = |bytes: &[u8]| mask_crc(CRC32C.checksum(bytes)).to_le_bytes();
    [&length[..], &crc(&length), data, &crc(data)].concat()
}

/// Masked checksum, as stored: a CRC of data that contains its own CRC would be weak.
fn mask_crc(crc: u32) -> u32 {
    crc.rotate_right(15).wrapping_add(0xa282_ead8)
}

/// First event of every file.
pub(crate) fn file_version_event(wall_time: f64) -> Message {
    Message::new().double(1, wall_time).bytes(3, "brain.Event:2") // wall_time, file_version
}

/// Event with a `Summary` of one `Value`.
pub(crate) fn summary_event(wall_time: f64, step: usize, value: &Message) -> Message {
    let summary = Message::new().bytes(1, value); // value
    // wall_time, step, summary
    Message::new().double(1, wall_time).varint(2, step as u64).bytes(5, summary)
}

/// Event with the `SessionLog` of a session start.
pub(crate) fn session_start_event(wall_time: f64, step: usize) -> Message {
    let start = Message::new().varint(1, 1); // status = START
    // wall_time, step, session_log
    Message::new().double(1, wall_time).varint(2, step as u64).bytes(7, start)
}
