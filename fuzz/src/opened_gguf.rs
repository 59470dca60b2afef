//! Invariants of a GGUF file that opens.

use std::fs;
use std::path::Path;

use candle_core::Device;
use model_io::gguf::Gguf;
use model_io::{
    AddSpecialTokens, GgufTokenizer, LoadMode, ParseSpecial, SkipSpecialTokens, Tokenizer,
    gguf_model,
};

/// Opens the file at `path`, its tensors, model and tokenizer, and checks what must hold: tensors
/// lie within the file, and ids within the vocabulary.
pub fn check(path: &Path) {
    let Ok(file) = Gguf::open(path) else { return };
    let length = fs::metadata(path).expect("the file is there").len();
    let mut total = 0;
    for (name, info) in file.tensor_infos() {
        let bytes = file.read_tensor(name).expect("a tensor of the header can be read");
        assert_eq!(bytes.len(), info.size_in_bytes());
        let n_blocks = info.dims.iter().product::<usize>() / info.format.block_len();
        assert_eq!(bytes.len(), n_blocks * info.format.block_bytes());
        total += bytes.len() as u64;
    }
    assert!(total <= length, "tensors of {total} bytes in a file of {length}");
    for mode in [LoadMode::Inference, LoadMode::DequantizedInference] {
        if let Ok(model) = gguf_model::open(&file, mode, &Device::Cpu) {
            model.config.validate().expect("the configuration of a model that opens is valid");
        }
    }
    let Ok(parts) = GgufTokenizer::read(&file) else { return };
    let Ok(tokenizer) = Tokenizer::from_gguf(&parts) else { return };
    let text = "Hello <|im_end|> नम 12";
    if let Ok(ids) = tokenizer.encode(text, AddSpecialTokens::Yes, ParseSpecial::Yes) {
        assert!(ids.iter().all(|&id| (id as usize) < parts.tokens.len()), "{ids:?}");
        let _ = tokenizer.decode(&ids, SkipSpecialTokens::No);
    }
}
