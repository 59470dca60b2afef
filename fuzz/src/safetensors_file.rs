//! Safetensors files from a description, in which lengths and offsets that are not given are right:
//! `{"header": {"w": {"dtype": "F32", "shape": [2]}}, "fill": 0}`.

use serde_json::{Value, json};
use tensor_core::sha256;

/// Limit of the data of a file.
const MAX_DATA_BYTES: u64 = 1 << 20;

/// Bytes of the file that `description` describes. `data` and `length` replace the right lengths of
/// the data and of the header, `fill` is the byte of the data. An entry `sha256` that is `right` in
/// the metadata becomes the hash of the data, as a token file needs.
pub fn bytes(description: &Value) -> Vec<u8> {
    let mut header = description["header"].clone();
    let mut end = 0u64;
    for (_, tensor) in header.as_object_mut().into_iter().flatten() {
        let size = size(tensor);
        let Some(tensor) = tensor.as_object_mut() else { continue };
        if let (Some(size), false) = (size, tensor.contains_key("data_offsets")) {
            tensor.insert("data_offsets".into(), json!([end, end.saturating_add(size)]));
        }
        let offsets = &tensor.get("data_offsets").cloned().unwrap_or_default();
        end = end.max(offsets[1].as_u64().unwrap_or(0));
    }
    let n = description["data"].as_u64().unwrap_or(end).min(MAX_DATA_BYTES);
    let data = vec![description["fill"].as_u64().unwrap_or(0) as u8; n as usize];
    if let Some(entry) = header.pointer_mut("/__metadata__/sha256").filter(|e| *e == "right") {
        *entry = json!(sha256::hash_bytes(&data));
    }
    let text = if header.is_null() { String::new() } else { header.to_string() };
    let length = description["length"].as_u64().unwrap_or(text.len() as u64);
    [&length.to_le_bytes(), text.as_bytes(), &data].concat()
}

/// Size in bytes of a tensor with this dtype and shape.
fn size(tensor: &Value) -> Option<u64> {
    let item = match tensor["dtype"].as_str()? {
        "BOOL" | "U8" | "I8" | "F8_E4M3" | "F8_E5M2" => 1,
        "I16" | "U16" | "F16" | "BF16" => 2,
        "I32" | "U32" | "F32" => 4,
        "I64" | "U64" | "F64" => 8,
        _ => return None,
    };
    let dims = tensor["shape"].as_array()?.iter();
    dims.map(Value::as_u64).try_fold(item, |product: u64, dim| product.checked_mul(dim?))
}
