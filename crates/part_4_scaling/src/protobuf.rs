//! 4.5 Protocol buffers, written by hand: the bytes in which experiment trackers keep what they are told.
//!
//! A message is a row of fields in any order, each a tag and a value. The tag is `field number << 3 | wire type`, and the
//! wire type says how to find the value's end without knowing the field: a varint (0), 8 bytes (1), a length and that many
//! bytes (2: strings, packed numbers, messages inside), 4 bytes (5). Names stand in the `.proto` file alone; here they are
//! comments. <https://protobuf.dev/programming-guides/encoding/>

/// A message in the making.
#[derive(Clone, Debug, Default)]
pub struct Message(Vec<u8>);

impl Message {
    /// The empty message.
    pub fn new() -> Self {
        Self::default()
    }

    /// A whole number, a bool or an enum: seven bits a byte, the lowest first; the top bit says that more follow.
    pub fn varint(mut self, field: u32, value: u64) -> Self {
        self.tag(field, 0);
        self.push_varint(value);
        self
    }

    /// A `double`.
    pub fn double(mut self, field: u32, value: f64) -> Self {
        self.tag(field, 1);
        self.0.extend(value.to_le_bytes());
        self
    }

    /// A `float`.
    pub fn float(mut self, field: u32, value: f32) -> Self {
        self.tag(field, 5);
        self.0.extend(value.to_le_bytes());
        self
    }

    /// A `string`, `bytes`, or a message.
    pub fn bytes(mut self, field: u32, value: impl AsRef<[u8]>) -> Self {
        self.tag(field, 2);
        self.push_varint(value.as_ref().len() as u64);
        self.0.extend(value.as_ref());
        self
    }

    /// `repeated double`, packed: one tag for all.
    pub fn doubles(self, field: u32, values: &[f64]) -> Self {
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
