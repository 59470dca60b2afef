//! Metadata values of a GGUF file: numbers, booleans, strings, and arrays of one type.

use std::io::Read;

use anyhow::{Result, bail, ensure};

use super::source::BoundedReader;

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

/// Metadata array; as compact in memory as in the file, except for strings.
#[derive(Debug, Clone, PartialEq)]
#[expect(missing_docs, reason = "the variants are their types")]
pub enum MetadataArray {
    U8(Vec<u8>),
    I8(Vec<i8>),
    U16(Vec<u16>),
    I16(Vec<i16>),
    U32(Vec<u32>),
    I32(Vec<i32>),
    F32(Vec<f32>),
    Bool(Vec<bool>),
    String(Vec<String>),
    Array(Vec<MetadataArray>),
    U64(Vec<u64>),
    I64(Vec<i64>),
    F64(Vec<f64>),
}

impl MetadataValue {
    /// Value as a size, if it is a non-negative integer of any type.
    pub fn as_usize(&self) -> Option<usize> {
        match *self {
            Self::U8(value) => Some(usize::from(value)),
            Self::U16(value) => Some(usize::from(value)),
            Self::U32(value) => usize::try_from(value).ok(),
            Self::U64(value) => usize::try_from(value).ok(),
            Self::I8(value) => usize::try_from(value).ok(),
            Self::I16(value) => usize::try_from(value).ok(),
            Self::I32(value) => usize::try_from(value).ok(),
            Self::I64(value) => usize::try_from(value).ok(),
            _ => None,
        }
    }

    /// Value as `f64`, if it is a number of any type.
    pub fn as_f64(&self) -> Option<f64> {
        match *self {
            Self::U8(value) => Some(f64::from(value)),
            Self::I8(value) => Some(f64::from(value)),
            Self::U16(value) => Some(f64::from(value)),
            Self::I16(value) => Some(f64::from(value)),
            Self::U32(value) => Some(f64::from(value)),
            Self::I32(value) => Some(f64::from(value)),
            Self::F32(value) => Some(f64::from(value)),
            Self::U64(value) => Some(value as f64),
            Self::I64(value) => Some(value as f64),
            Self::F64(value) => Some(value),
            Self::Bool(_) | Self::String(_) | Self::Array(_) => None,
        }
    }

    /// Type of the value for messages, such as "a string".
    pub(super) fn kind(&self) -> &'static str {
        match self {
            Self::Bool(_) => "a boolean",
            Self::String(_) => "a string",
            Self::Array(MetadataArray::String(_)) => "an array of strings",
            Self::Array(_) => "an array",
            Self::F32(_) | Self::F64(_) => "a floating-point number",
            _ => "an integer",
        }
    }
}

impl MetadataArray {
    /// Values as `f64`, if the elements are numbers of any type.
    pub fn to_f64s(&self) -> Option<Vec<f64>> {
        Some(match self {
            Self::U8(values) => values.iter().map(|&value| f64::from(value)).collect(),
            Self::I8(values) => values.iter().map(|&value| f64::from(value)).collect(),
            Self::U16(values) => values.iter().map(|&value| f64::from(value)).collect(),
            Self::I16(values) => values.iter().map(|&value| f64::from(value)).collect(),
            Self::U32(values) => values.iter().map(|&value| f64::from(value)).collect(),
            Self::I32(values) => values.iter().map(|&value| f64::from(value)).collect(),
            Self::F32(values) => values.iter().map(|&value| f64::from(value)).collect(),
            Self::U64(values) => values.iter().map(|&value| value as f64).collect(),
            Self::I64(values) => values.iter().map(|&value| value as f64).collect(),
            Self::F64(values) => values.clone(),
            Self::Bool(_) | Self::String(_) | Self::Array(_) => return None,
        })
    }
}

/// Next value: its type number, then the value.
pub(super) fn value<R: Read>(source: &mut BoundedReader<R>) -> Result<MetadataValue> {
    Ok(match source.scalar(u32::from_le_bytes)? {
        0 => MetadataValue::U8(source.scalar(u8::from_le_bytes)?),
        1 => MetadataValue::I8(source.scalar(i8::from_le_bytes)?),
        2 => MetadataValue::U16(source.scalar(u16::from_le_bytes)?),
        3 => MetadataValue::I16(source.scalar(i16::from_le_bytes)?),
        4 => MetadataValue::U32(source.scalar(u32::from_le_bytes)?),
        5 => MetadataValue::I32(source.scalar(i32::from_le_bytes)?),
        6 => MetadataValue::F32(source.scalar(f32::from_le_bytes)?),
        7 => MetadataValue::Bool(boolean(source)?),
        8 => MetadataValue::String(source.string()?),
        9 => MetadataValue::Array(array(source, 0)?),
        10 => MetadataValue::U64(source.scalar(u64::from_le_bytes)?),
        11 => MetadataValue::I64(source.scalar(i64::from_le_bytes)?),
        12 => MetadataValue::F64(source.scalar(f64::from_le_bytes)?),
        other => bail!("unknown value type {other}: the file is damaged"),
    })
}

/// Next array: element type, number of elements, elements.
fn array<R: Read>(source: &mut BoundedReader<R>, depth: usize) -> Result<MetadataArray> {
    // The limit prevents a stack overflow.
    ensure!(depth < 8, "arrays are nested more than 8 deep: the file is damaged");
    let kind = source.scalar(u32::from_le_bytes)?;
    // Minimum bytes per element. An empty string has a length, an empty array a type and a length.
    let min_bytes = match kind {
        0 | 1 | 7 => 1,
        2 | 3 => 2,
        4..=6 => 4,
        8 | 10..=12 => 8,
        9 => 12,
        other => bail!("unknown value type {other}: the file is damaged"),
    };
    let count = source.count("array elements", min_bytes)?;
    Ok(match kind {
        0 => MetadataArray::U8(source.scalars(count, u8::from_le_bytes)?),
        1 => MetadataArray::I8(source.scalars(count, i8::from_le_bytes)?),
        2 => MetadataArray::U16(source.scalars(count, u16::from_le_bytes)?),
        3 => MetadataArray::I16(source.scalars(count, i16::from_le_bytes)?),
        4 => MetadataArray::U32(source.scalars(count, u32::from_le_bytes)?),
        5 => MetadataArray::I32(source.scalars(count, i32::from_le_bytes)?),
        6 => MetadataArray::F32(source.scalars(count, f32::from_le_bytes)?),
        7 => MetadataArray::Bool(source.list(count, boolean)?),
        8 => MetadataArray::String(source.list(count, BoundedReader::string)?),
        9 => MetadataArray::Array(source.list(count, |source| array(source, depth + 1))?),
        10 => MetadataArray::U64(source.scalars(count, u64::from_le_bytes)?),
        11 => MetadataArray::I64(source.scalars(count, i64::from_le_bytes)?),
        _ => MetadataArray::F64(source.scalars(count, f64::from_le_bytes)?),
    })
}

fn boolean<R: Read>(source: &mut BoundedReader<R>) -> Result<bool> {
    match source.scalar(u8::from_le_bytes)? {
        0 => Ok(false),
        1 => Ok(true),
        other => bail!("a boolean is {other}: the file is damaged"),
    }
}
