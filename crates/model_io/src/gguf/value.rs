//! Metadata values of a GGUF file: numbers, booleans, strings, and arrays of one type.

use std::io::Read;

use anyhow::{Result, bail, ensure};

use super::bounded_reader::BoundedReader;

/// Metadata value, in the type that the file has.
#[derive(Debug, Clone, PartialEq)]
#[expect(missing_docs, reason = "the variants are their types")]
pub enum MetadataValue {
    U8(u8),
    I8(i8),
    U16(u16),
    I16(i16),
    U32(u32),
    I32(i32),
    F32(f32),
    Bool(bool),
    String(String),
    Array(MetadataArray),
    U64(u64),
    I64(i64),
    F64(f64),
}

/// Metadata array. Numbers of all types are stored as `f64`.
#[derive(Debug, Clone, PartialEq)]
#[expect(missing_docs, reason = "the variants are their types")]
pub enum MetadataArray {
    Numbers(Vec<f64>),
    Bools(Vec<bool>),
    Strings(Vec<String>),
    Arrays(Vec<MetadataArray>),
}

impl MetadataValue {
    /// Value as an integer, if it is one of any type.
    fn as_integer(&self) -> Option<i128> {
        match *self {
            Self::U8(value) => Some(value.into()),
            Self::I8(value) => Some(value.into()),
            Self::U16(value) => Some(value.into()),
            Self::I16(value) => Some(value.into()),
            Self::U32(value) => Some(value.into()),
            Self::I32(value) => Some(value.into()),
            Self::U64(value) => Some(value.into()),
            Self::I64(value) => Some(value.into()),
            _ => None,
        }
    }

    /// Value as a size, if it is a non-negative integer of any type.
    pub fn as_usize(&self) -> Option<usize> {
        self.as_integer().and_then(|value| usize::try_from(value).ok())
    }

    /// Value as `f64`, if it is a number of any type.
    pub fn as_f64(&self) -> Option<f64> {
        match *self {
            Self::F32(value) => Some(value.into()),
            Self::F64(value) => Some(value),
            _ => self.as_integer().map(|value| value as f64),
        }
    }

    /// Type of the value for messages, such as "a string".
    pub(super) fn kind(&self) -> &'static str {
        match self {
            Self::Bool(_) => "a boolean",
            Self::String(_) => "a string",
            Self::Array(MetadataArray::Strings(_)) => "an array of strings",
            Self::Array(_) => "an array",
            Self::F32(_) | Self::F64(_) => "a floating-point number",
            _ => "an integer",
        }
    }
}

/// Numbers of the value types in a file.
mod value_type {
    pub(super) const U8: u32 = 0;
    pub(super) const I8: u32 = 1;
    pub(super) const U16: u32 = 2;
    pub(super) const I16: u32 = 3;
    pub(super) const U32: u32 = 4;
    pub(super) const I32: u32 = 5;
    pub(super) const F32: u32 = 6;
    pub(super) const BOOL: u32 = 7;
    pub(super) const STRING: u32 = 8;
    pub(super) const ARRAY: u32 = 9;
    pub(super) const U64: u32 = 10;
    pub(super) const I64: u32 = 11;
    pub(super) const F64: u32 = 12;
}

/// Next value: its type number, then the value.
pub(super) fn read_value<R: Read>(reader: &mut BoundedReader<R>) -> Result<MetadataValue> {
    match reader.scalar(u32::from_le_bytes)? {
        value_type::ARRAY => Ok(MetadataValue::Array(read_array(reader, 0)?)),
        kind => read_value_of(kind, reader),
    }
}

/// Next value of the type with number `kind`, which is not that of arrays.
fn read_value_of<R: Read>(kind: u32, reader: &mut BoundedReader<R>) -> Result<MetadataValue> {
    Ok(match kind {
        value_type::U8 => MetadataValue::U8(reader.scalar(u8::from_le_bytes)?),
        value_type::I8 => MetadataValue::I8(reader.scalar(i8::from_le_bytes)?),
        value_type::U16 => MetadataValue::U16(reader.scalar(u16::from_le_bytes)?),
        value_type::I16 => MetadataValue::I16(reader.scalar(i16::from_le_bytes)?),
        value_type::U32 => MetadataValue::U32(reader.scalar(u32::from_le_bytes)?),
        value_type::I32 => MetadataValue::I32(reader.scalar(i32::from_le_bytes)?),
        value_type::F32 => MetadataValue::F32(reader.scalar(f32::from_le_bytes)?),
        value_type::BOOL => MetadataValue::Bool(read_bool(reader)?),
        value_type::STRING => MetadataValue::String(reader.string()?),
        value_type::U64 => MetadataValue::U64(reader.scalar(u64::from_le_bytes)?),
        value_type::I64 => MetadataValue::I64(reader.scalar(i64::from_le_bytes)?),
        value_type::F64 => MetadataValue::F64(reader.scalar(f64::from_le_bytes)?),
        other => bail!("unknown value type {other}: the file is damaged"),
    })
}

/// Next array: element type, number of elements, elements.
fn read_array<R: Read>(reader: &mut BoundedReader<R>, depth: usize) -> Result<MetadataArray> {
    // The limit prevents a stack overflow.
    ensure!(depth < 8, "arrays are nested more than 8 deep: the file is damaged");
    let kind = reader.scalar(u32::from_le_bytes)?;
    // Minimum bytes per element. An empty string has a length, an empty array a type and a length.
    let min_bytes = match kind {
        value_type::U8 | value_type::I8 | value_type::BOOL => 1,
        value_type::U16 | value_type::I16 => 2,
        value_type::U32 | value_type::I32 | value_type::F32 => 4,
        value_type::STRING | value_type::U64 | value_type::I64 | value_type::F64 => 8,
        value_type::ARRAY => 12,
        other => bail!("unknown value type {other}: the file is damaged"),
    };
    let count = reader.count("array elements", min_bytes)?;
    Ok(match kind {
        value_type::BOOL => MetadataArray::Bools(reader.list(count, read_bool)?),
        value_type::STRING => MetadataArray::Strings(reader.list(count, BoundedReader::string)?),
        value_type::ARRAY => {
            MetadataArray::Arrays(reader.list(count, |reader| read_array(reader, depth + 1))?)
        }
        _ => MetadataArray::Numbers(reader.list(count, |reader| {
            Ok(read_value_of(kind, reader)?.as_f64().expect("all other types are numbers"))
        })?),
    })
}

fn read_bool<R: Read>(reader: &mut BoundedReader<R>) -> Result<bool> {
    match reader.scalar(u8::from_le_bytes)? {
        0 => Ok(false),
        1 => Ok(true),
        other => bail!("a boolean is {other}: the file is damaged"),
    }
}
