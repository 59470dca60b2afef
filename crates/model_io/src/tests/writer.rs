//! Writer of GGUF files for tests; it writes invalid files too.

use crate::gguf::TensorFormat;

/// Contents of a GGUF file.
#[derive(Clone)]
pub(super) struct Writer {
    pub(super) version: u32,
    pub(super) metadata: Vec<(String, u32, Vec<u8>)>, // key, type, bytes
    pub(super) tensors: Vec<Entry>,
    pub(super) alignment: u64,
}

/// Entry of the tensor list, with the tensor's bytes.
#[derive(Clone)]
pub(super) struct Entry {
    pub(super) name: String,
    pub(super) dims: Vec<u64>, // innermost first, as in the file
    pub(super) ggml_type: u32,
    pub(super) offset: u64,
    pub(super) bytes: Vec<u8>,
}

/// String prefixed with its length.
pub(super) fn string(text: &str) -> Vec<u8> {
    [&(text.len() as u64).to_le_bytes(), text.as_bytes()].concat()
}

/// Bytes of an array: element type, element count, elements.
pub(super) fn array(kind: u32, elements: &[Vec<u8>]) -> Vec<u8> {
    let count = (elements.len() as u64).to_le_bytes();
    [&kind.to_le_bytes()[..], &count, &elements.concat()].concat()
}

impl Writer {
    pub(super) fn new() -> Self {
        Self { version: 3, metadata: Vec::new(), tensors: Vec::new(), alignment: 32 }
    }

    pub(super) fn value(mut self, key: &str, kind: u32, bytes: impl AsRef<[u8]>) -> Self {
        self.metadata.push((key.to_string(), kind, bytes.as_ref().to_vec()));
        self
    }

    /// Appends a tensor with the bytes 0, 1, 2 and so on; `dims` outermost first.
    pub(super) fn tensor(mut self, name: &str, dims: &[u64], format: TensorFormat) -> Self {
        let count = dims.iter().product::<u64>() as usize;
        let bytes = count / format.block_len() * format.block_bytes();
        let end = |entry: &Entry| entry.offset + entry.bytes.len() as u64;
        let offset = self.tensors.last().map_or(0, end).next_multiple_of(self.alignment);
        self.tensors.push(Entry {
            name: name.to_string(),
            dims: dims.iter().rev().copied().collect(),
            ggml_type: format.ggml_type(),
            offset,
            bytes: (0..bytes).map(|i| i as u8).collect(),
        });
        self
    }

    /// Bytes before the tensor data.
    pub(super) fn header(&self) -> Vec<u8> {
        let mut file = b"GGUF".to_vec();
        file.extend(self.version.to_le_bytes());
        file.extend((self.tensors.len() as u64).to_le_bytes());
        file.extend((self.metadata.len() as u64).to_le_bytes());
        for (key, kind, bytes) in &self.metadata {
            file.extend(string(key));
            file.extend(kind.to_le_bytes());
            file.extend(bytes);
        }
        for Entry { name, dims, ggml_type, offset, .. } in &self.tensors {
            file.extend(string(name));
            file.extend((dims.len() as u32).to_le_bytes());
            file.extend(dims.iter().flat_map(|dim| dim.to_le_bytes()));
            file.extend(ggml_type.to_le_bytes());
            file.extend(offset.to_le_bytes());
        }
        file
    }

    /// Bytes of the complete file.
    pub(super) fn file(&self) -> Vec<u8> {
        let mut file = self.header();
        file.resize(file.len().next_multiple_of(self.alignment as usize), 0);
        let data = file.len();
        for Entry { offset, bytes, .. } in &self.tensors {
            file.resize(file.len().max(data + *offset as usize), 0);
            file.truncate(data + *offset as usize);
            file.extend(bytes);
        }
        file
    }
}
