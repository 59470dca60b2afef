//! 4.5 Encoder for protocol buffers, the file format of the experiment trackers.
//!
//! A message is a sequence of fields in any order, each a tag and a value. The tag is `field number
//! << 3 | wire type`. The wire type gives the length of the value without knowledge of the field: a
//! varint (0), 8 bytes (1), a length and that many bytes (2: strings, packed numbers, nested
//! messages), 4 bytes (5). Field names exist only in the `.proto` file; this code has them as
//! comments. <https://protobuf.dev/programming-guides/encoding/>

/// Builder of an encoded message.
#[derive(Clone, Debug, Default)]
pub(crate) struct Message(Vec<u8>);

impl Message {
    /// Empty message.
    pub(crate) fn new() -> Self {
        Self::default()
    }

    /// Adds an integer, bool or enum: seven bits per byte, lowest first, with the top bit set on
    /// all bytes but the last.
    pub(crate) fn varint(mut self, field: u32, value: u64) -> Self {
        self.tag(field, 0);
        self.push_varint(value);
        self
    }

    /// Adds a `double`.
    pub(crate) fn double(mut self, field: u32, value: f64) -> Self {
        self.tag(field, 1);
        self.0.extend(value.to_le_bytes());
        self
    }

    /// Adds a `float`.
    pub(crate) fn float(mut self, field: u32, value: f32) -> Self {
        self.tag(field, 5);
        self.0.extend(value.to_le_bytes());
        self
    }

    /// Adds a `string`, `bytes` or a nested message.
    pub(crate) fn bytes(mut self, field: u32, value: impl AsRef<[u8]>) -> Self {
        self.tag(field, 2);
        self.push_varint(value.as_ref().len() as u64);
        self.0.extend(value.as_ref());
        self
    }

    /// Adds a packed `repeated double`: one tag for all values.
    pub(crate) fn doubles(self, field: u32, values: &[f64]) -> Self {
        self.bytes(field, values.iter().flat_map(|value| value.to_le_bytes()).collect::<Vec<u8>>())
    }

    fn tag(&mut self, field: u32, wire_type: u64) {
        self.push_varint(u64::from(field) << 3 | wire_type);
    }

    fn push_varint(&mut self, mut value: u64) {
        while value >= 0x80 {
            self.0.push(value as u8 | 0x80);
            value >>= 7;
        }
        self.0.push(value as u8);
    }
}

impl AsRef<[u8]> for Message {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}
