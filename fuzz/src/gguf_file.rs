//! GGUF files from a description, in which counts, types and offsets that are not given are right:
//! `{"metadata": {"general.architecture": "llama"}, "tensors": {"t": {"dims": [2], "type": 0}}}`.

use serde_json::Value;

/// Limit of the data of a tensor.
const MAX_DATA_BYTES: u64 = 1 << 16;
/// Alignment of the data, unless the description has another one.
const ALIGNMENT: u64 = 32;

/// Bytes of the file that `description` describes.
///
/// A metadata value is a JSON value, stored in the type that fits, or `{"type": 4, "value": 1}`. A
/// tensor has `dims`, outermost first, a `type`, and perhaps `offset`, `bytes` and `fill`.
/// `version`, `counts` (of tensors and of values) and `alignment` replace what is right.
pub fn bytes(description: &Value) -> Vec<u8> {
    let none = serde_json::Map::new();
    let metadata = description["metadata"].as_object().unwrap_or(&none);
    let tensors = description["tensors"].as_object().unwrap_or(&none);
    let alignment = description["alignment"].as_u64().unwrap_or(ALIGNMENT).clamp(1, 1 << 12);
    let count = |i: usize, right: usize| description["counts"][i].as_u64().unwrap_or(right as u64);
    let mut file = b"GGUF".to_vec();
    file.extend((description["version"].as_u64().unwrap_or(3) as u32).to_le_bytes());
    file.extend(count(0, tensors.len()).to_le_bytes());
    file.extend(count(1, metadata.len()).to_le_bytes());
    for (key, value) in metadata {
        push_text(&mut file, key);
        push_value(&mut file, value);
    }
    let mut data = Vec::new();
    for (name, tensor) in tensors {
        let dims: Vec<u64> =
            tensor["dims"].as_array().into_iter().flatten().filter_map(Value::as_u64).collect();
        let kind = tensor["type"].as_u64().unwrap_or(0) as u32;
        let offset = tensor["offset"].as_u64().unwrap_or(data.len() as u64);
        push_text(&mut file, name);
        file.extend((dims.len() as u32).to_le_bytes());
        dims.iter().rev().for_each(|dim| file.extend(dim.to_le_bytes()));
        file.extend(kind.to_le_bytes());
        file.extend(offset.to_le_bytes());
        let size = tensor["bytes"].as_u64().unwrap_or(size(&dims, kind)).min(MAX_DATA_BYTES);
        data.resize(data.len() + size as usize, tensor["fill"].as_u64().unwrap_or(0) as u8);
        data.resize(data.len().next_multiple_of(alignment as usize), 0);
    }
    file.resize(file.len().next_multiple_of(alignment as usize), 0);
    file.extend(data);
    file
}

/// Size in bytes of a tensor of these dimensions, in the format of this number.
fn size(dims: &[u64], kind: u32) -> u64 {
    let (block_len, block_bytes) = match kind {
        1 | 30 => (1, 2),
        2 => (32, 18),
        3 => (32, 20),
        8 => (32, 34),
        12 => (256, 144),
        14 => (256, 210),
        _ => (1, 4),
    };
    let numbers = dims.iter().fold(1u64, |product, &dim| product.saturating_mul(dim));
    (numbers / block_len).saturating_mul(block_bytes)
}

fn push_text(file: &mut Vec<u8>, text: &str) {
    file.extend((text.len() as u64).to_le_bytes());
    file.extend(text.bytes());
}

/// Number of the type in which `value` is stored.
fn type_of(value: &Value) -> u32 {
    match value {
        Value::Bool(_) => 7,
        Value::Array(_) => 9,
        Value::Number(number) if number.is_f64() => 6,
        Value::Number(number) => match number.as_u64() {
            Some(n) if u32::try_from(n).is_ok() => 4,
            Some(_) => 10,
            None => 11,
        },
        _ => 8,
    }
}

fn push_value(file: &mut Vec<u8>, value: &Value) {
    let (kind, value) = match value["type"].as_u64() {
        Some(kind) => (kind as u32, &value["value"]),
        None => (type_of(value), value),
    };
    file.extend(kind.to_le_bytes());
    push_plain(file, kind, value);
}

fn push_plain(file: &mut Vec<u8>, kind: u32, value: &Value) {
    let float = value.as_f64().unwrap_or(0.);
    let integer = value.as_i64().unwrap_or(value.as_u64().unwrap_or(0) as i64);
    match kind {
        0 | 1 | 7 => file.push(value.as_bool().map_or(integer as u8, u8::from)),
        2 | 3 => file.extend((integer as u16).to_le_bytes()),
        4 | 5 => file.extend((integer as u32).to_le_bytes()),
        6 => file.extend((float as f32).to_le_bytes()),
        9 => {
            let list = value.as_array().map_or(&[][..], Vec::as_slice);
            let kind = list.first().map_or(4, type_of);
            file.extend(kind.to_le_bytes());
            file.extend((list.len() as u64).to_le_bytes());
            list.iter().for_each(|element| push_plain(file, kind, element));
        }
        10 | 11 => file.extend(integer.to_le_bytes()),
        12 => file.extend(float.to_le_bytes()),
        _ => push_text(file, value.as_str().unwrap_or_default()),
    }
}
