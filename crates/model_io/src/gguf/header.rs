//! The header of a GGUF file: magic, version, metadata and tensor list, all validated.

use std::collections::BTreeMap;
use std::io::Read;

use anyhow::{Context, Result, bail, ensure};

use super::bounded_reader::BoundedReader;
use super::format::{TensorFormat, ggml_name};
use super::value::{MetadataValue, read_value};

/// Alignment of the data section if `general.alignment` is not set.
const DEFAULT_ALIGNMENT: u64 = 32;
/// Maximum key length in bytes, from the specification.
const MAX_KEY_BYTES: usize = 65_535;
/// Maximum number of dimensions, `GGML_MAX_DIMS`.
const MAX_DIMS: u32 = 4;

/// Shape, format and location of a tensor.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TensorInfo {
    /// Shape, outermost dimension first as in PyTorch; the file stores the reverse order.
    pub dims: Vec<usize>,
    /// Storage format of the numbers.
    pub format: TensorFormat,
    /// Offset in bytes from the start of the file.
    pub(super) offset: u64,
    /// Size in bytes.
    pub(super) bytes: usize,
}

impl TensorInfo {
    /// Size of the tensor in the file, in bytes.
    pub fn size_in_bytes(&self) -> usize {
        self.bytes
    }
}

/// Parsed header.
#[derive(Debug)]
pub(super) struct Header {
    pub(super) metadata: BTreeMap<String, MetadataValue>,
    pub(super) tensors: BTreeMap<String, TensorInfo>,
}

/// Reads the header of a file of `length` bytes, and checks that its tensors lie within the file.
pub(super) fn parse(file: impl Read, length: u64) -> Result<Header> {
    let mut reader = BoundedReader::new(file, length);
    check_magic(&mut reader)?;
    // Minimum bytes of a tensor entry: an empty name (8), the number of dimensions (4), format (4)
    // and offset (8). Minimum of a metadata entry: an empty key (8), type (4) and one byte (1).
    let tensor_count = reader.count("tensors", 24)?;
    let metadata_count = reader.count("metadata values", 13)?;
    let mut metadata = BTreeMap::new();
    for i in 0..metadata_count {
        let key = name(&mut reader).with_context(|| format!("key {i} of the metadata"))?;
        let value = read_value(&mut reader).with_context(|| format!("metadata value `{key}`"))?;
        ensure!(!metadata.contains_key(&key), "the metadata has `{key}` twice");
        metadata.insert(key, value);
    }
    let alignment = alignment(&metadata)?;
    let mut tensors = BTreeMap::new();
    for i in 0..tensor_count {
        let name = name(&mut reader).with_context(|| format!("name of tensor {i}"))?;
        let info = tensor_info(&mut reader).with_context(|| format!("tensor `{name}`"))?;
        ensure!(!tensors.contains_key(&name), "there are two tensors `{name}`");
        tensors.insert(name, info);
    }
    let data = reader.position().checked_next_multiple_of(alignment).context("alignment")?;
    resolve_offsets(&mut tensors, data, alignment, length)?;
    Ok(Header { metadata, tensors })
}

/// Checks magic and version, the first 8 bytes; recognizes common wrong file types.
fn check_magic<R: Read>(reader: &mut BoundedReader<R>) -> Result<()> {
    let magic = reader.scalar(|bytes: [u8; 4]| bytes).context("this is not a GGUF file")?;
    match &magic {
        b"GGUF" => {}
        b"FUGG" => bail!("this GGUF file is big-endian; convert it to little-endian"),
        b"vers" => bail!("this is a git-lfs pointer instead of the file; run `git lfs pull`"),
        [b'<', ..] | [b'\n' | b'\r' | b' ', ..] => {
            bail!("this is text, perhaps an error page from a web server, not a GGUF file")
        }
        b"lmgg" | b"fmgg" | b"tjgg" | b"algg" => {
            bail!("this is a GGML file from before GGUF; convert it with llama.cpp")
        }
        [b'P', b'K', 3, 4] => bail!("this is a zip archive (perhaps of PyTorch), not a GGUF file"),
        other => {
            bail!("this is not a GGUF file: it starts with {:?}", other.escape_ascii().to_string())
        }
    }
    let version = reader.scalar(u32::from_le_bytes)?;
    match version {
        2 | 3 => Ok(()),
        _ if version & 0xFFFF == 0 && version != 0 => {
            bail!("this GGUF file is big-endian; convert it to little-endian")
        }
        _ => bail!("GGUF version {version} is not supported, only 2 and 3; convert the file again"),
    }
}

fn name<R: Read>(reader: &mut BoundedReader<R>) -> Result<String> {
    let name = reader.string()?;
    ensure!(
        name.len() <= MAX_KEY_BYTES,
        "it has {} bytes, the maximum is {MAX_KEY_BYTES}",
        name.len()
    );
    Ok(name)
}

fn alignment(metadata: &BTreeMap<String, MetadataValue>) -> Result<u64> {
    match metadata.get("general.alignment") {
        None => Ok(DEFAULT_ALIGNMENT),
        Some(MetadataValue::U32(value)) if value.is_power_of_two() => Ok(u64::from(*value)),
        Some(other) => bail!("`general.alignment` is {other:?}, expected a U32 power of two"),
    }
}

/// Next tensor entry; its offset still counts from the start of the data section.
fn tensor_info<R: Read>(reader: &mut BoundedReader<R>) -> Result<TensorInfo> {
    let rank = reader.scalar(u32::from_le_bytes)?;
    ensure!(rank <= MAX_DIMS, "it has {rank} dimensions, the maximum is {MAX_DIMS}");
    let mut dims = reader.list(rank as usize, |reader| reader.scalar(u64::from_le_bytes))?;
    let ggml_type = reader.scalar(u32::from_le_bytes)?;
    let offset = reader.scalar(u64::from_le_bytes)?;
    let Some(format) = TensorFormat::ALL.into_iter().find(|format| format.ggml_type() == ggml_type)
    else {
        let supported = TensorFormat::ALL.map(|format| format.to_string()).join(", ");
        let name = ggml_name(ggml_type);
        bail!(
            "its format is {name}, which is not supported; convert the file to one of {supported}"
        );
    };
    let (row, block) = (dims.first().copied().unwrap_or(1), format.block_len());
    ensure!(
        row % block as u64 == 0,
        "its rows of {row} are not a multiple of {format}'s block size {block}"
    );
    dims.reverse();
    ensure!(!dims.contains(&0), "it is empty: {dims:?}");
    let numbers = dims.iter().try_fold(1u64, |product, &dim| product.checked_mul(dim));
    let bytes = numbers.and_then(|n| (n / block as u64).checked_mul(format.block_bytes() as u64));
    let bytes = bytes.and_then(|bytes| usize::try_from(bytes).ok());
    let bytes = bytes.with_context(|| format!("its size {dims:?} is too large"))?;
    let dims = dims.iter().map(|&dim| usize::try_from(dim)).collect::<Result<_, _>>()?;
    Ok(TensorInfo { dims, format, offset, bytes })
}

/// Converts offsets to count from the start of the file, and checks that the tensors are aligned,
/// lie within the file and do not overlap.
fn resolve_offsets(
    tensors: &mut BTreeMap<String, TensorInfo>,
    data: u64,
    alignment: u64,
    length: u64,
) -> Result<()> {
    let mut extents = Vec::new(); // (start, end, name)
    for (name, info) in tensors.iter_mut() {
        let offset = info.offset;
        ensure!(
            offset % alignment == 0,
            "tensor `{name}` at {offset} is not aligned to {alignment}"
        );
        let start = data.checked_add(offset);
        let end = start.and_then(|start| start.checked_add(info.bytes as u64));
        let (Some(start), Some(end)) = (start, end) else {
            bail!("tensor `{name}` at {offset} is outside of the file")
        };
        ensure!(
            end <= length,
            "tensor `{name}` ends at byte {end}, the file at {length}: it is truncated or damaged"
        );
        info.offset = start;
        extents.push((start, end, name));
    }
    extents.sort_unstable();
    for pair in extents.windows(2) {
        let ((_, end, before), (start, _, after)) = (&pair[0], &pair[1]);
        ensure!(end <= start, "tensors `{before}` and `{after}` overlap: the file is damaged");
    }
    Ok(())
}
