//! Checkpoints of every format, saved as a model folder: results must stay the same here and in
//! Hugging Face transformers.
//!
//! The comparison with transformers runs if `$COURSE_PYTHON` (or else `python3`) has torch and
//! transformers; otherwise it prints that it was skipped.
#![allow(clippy::unwrap_used, reason = "test helpers may unwrap")]

#[path = "../../../model_io/tests/golden/tokenizers.rs"]
mod golden_tokenizers;
mod unchanged;

use std::path::{Path, PathBuf};

use anyhow::Result;
use candle_core::{DType, Device};
use golden_tokenizers::parts;
use model_io::model_folder::SpecialTokenIds;
use model_io::{
    AddGenerationPrompt, AddSpecialTokens, ChatTemplate, GgufTokenizer, LoadMode, ModelConfig,
    ParseSpecial, Tokenizer, TokenizerSpecialTokens,
};
use modern::checkpoint::Checkpoint;
use modern::{GptModern, Sampler, SamplingStrategy};
use serde_json::Value;
use tensor_core::quantized::{Quantization, QuantizedMatrix};
use tensor_core::testing::course_data;
use tensor_core::{Parameters, Rng};
use tiny_gpt::{ByteTokenizer, LanguageModel};
use unchanged::{check, outputs};

const CPU: Device = Device::Cpu;

/// Contents of a JSON file of `model_io/tests/golden`.
fn golden(file: &str) -> Value {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../model_io/tests/golden").join(file);
    serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
}

/// Small untrained model. Its vocabulary is two tokens larger than the tokenizer's, as is common.
fn fresh(tokenizer: Tokenizer, chat_template: Option<ChatTemplate>) -> Result<Checkpoint> {
    let mut config = ModelConfig::byte_level(64, 2, 4, 32);
    config.vocab_size = tokenizer.vocab_size() + 2;
    config.attention.n_kv_head = 2;
    let mut parameters = Parameters::seeded(3, DType::F32, &CPU);
    let model = GptModern::new(&config, parameters.root())?;
    let special_ids =
        SpecialTokenIds { bos: tokenizer.bos(), eos: tokenizer.eos().into_iter().collect() };
    let sampler = Some(Sampler::new(SamplingStrategy::new(0.7, Some(20), Some(0.8), None)));
    Ok(Checkpoint { model, parameters, tokenizer, special_ids, sampler, chat_template })
}

#[test]
fn a_byte_level_bpe_chat_model_is_saved_unchanged() -> Result<()> {
    for pre in ["smollm", "qwen2", "llama-bpe"] {
        let parts = GgufTokenizer { pre: Some(pre.into()), pad: Some(2), ..parts("byte_level") };
        let tokenizer = Tokenizer::from_gguf(&parts)?;
        let template = ChatTemplate::new(ChatTemplate::chatml()?.source(), &tokenizer)?;
        check(pre, &fresh(tokenizer, Some(template))?)?;
    }
    Ok(())
}

#[test]
fn a_sentencepiece_chat_model_is_saved_unchanged() -> Result<()> {
    let chats = golden("chats.json");
    let templates = chats["templates"].as_array().unwrap();
    let mistral = templates.iter().find(|template| template["name"] == "Mistral-Instruct");
    let source = mistral.unwrap()["source"].as_str().unwrap();
    for add_space_prefix in [None, Some(false)] {
        let parts = GgufTokenizer { add_space_prefix, ..parts("sentencepiece") };
        let tokenizer = Tokenizer::from_gguf(&parts)?;
        let template = ChatTemplate::new(source, &tokenizer)?;
        check("sentencepiece", &fresh(tokenizer, Some(template))?)?;
    }
    Ok(())
}

#[test]
fn a_named_special_token_is_special_even_if_not_marked_so() -> Result<()> {
    let parts = GgufTokenizer { token_type: Vec::new(), ..parts("byte_level") };
    let checkpoint = fresh(Tokenizer::from_gguf(&parts)?, None)?;
    let ids =
        checkpoint.tokenizer.encode("hi<|im_end|>", AddSpecialTokens::No, ParseSpecial::Yes)?;
    assert_eq!(ids.last(), Some(&2));
    check("named tokens", &checkpoint)
}

#[test]
fn a_byte_model_saved_by_the_training_loop_opens_unchanged() -> Result<()> {
    let tokenizer =
        Tokenizer::from_json(ByteTokenizer.to_json(), TokenizerSpecialTokens::default())?;
    let mut parameters = Parameters::seeded(3, DType::F32, &CPU);
    let model = GptModern::new(&ModelConfig::byte_level(64, 2, 4, 32), parameters.root())?;
    let folder = tempfile::tempdir()?;
    LanguageModel::save(&model, folder.path(), &parameters)?;
    let opened = Checkpoint::open(folder.path().to_str().unwrap(), LoadMode::Inference, &CPU)?;
    let checkpoint = Checkpoint {
        model,
        parameters,
        tokenizer,
        special_ids: SpecialTokenIds::default(),
        sampler: None,
        chat_template: None,
    };
    assert!(outputs(&opened)? == outputs(&checkpoint)?);
    check("bytes", &opened)
}

#[test]
fn saving_a_model_replaces_an_old_chat_template() -> Result<()> {
    let folder = tempfile::tempdir()?;
    std::fs::write(folder.path().join("chat_template.jinja"), "another model's")?;
    let tokenizer = || Tokenizer::from_gguf(&parts("byte_level"));
    fresh(tokenizer()?, Some(ChatTemplate::chatml()?))?.save(folder.path())?;
    let template = ChatTemplate::from_folder(folder.path(), &tokenizer()?)?.expect("a template");
    assert_eq!(template.source(), ChatTemplate::chatml()?.source());
    fresh(tokenizer()?, None)?.save(folder.path())?;
    assert!(ChatTemplate::from_folder(folder.path(), &tokenizer()?)?.is_none());
    Ok(())
}

#[test]
fn saving_quantized_weights_fails_without_writing_a_file() -> Result<()> {
    let mut checkpoint = fresh(Tokenizer::from_gguf(&parts("byte_level"))?, None)?;
    let config = *checkpoint.model.config();
    let tensors = checkpoint.parameters.iter();
    let mut tensors: std::collections::BTreeMap<_, _> =
        tensors.map(|p| (p.name.clone(), p.var.as_detached_tensor())).collect();
    let name = "model.layers.0.self_attn.q_proj.weight";
    let matrix = QuantizedMatrix::quantize(Quantization::Q8_0, &tensors.remove(name).unwrap())?;
    let parameters = Parameters::from_tensors(tensors, "here", 0, DType::F32, &CPU);
    checkpoint.parameters = parameters.with_quantized([(name.to_string(), matrix)].into());
    checkpoint.model = GptModern::new(&config, checkpoint.parameters.root())?;
    let folder = tempfile::tempdir()?;
    let error = checkpoint.save(folder.path()).unwrap_err().to_string();
    assert!(error.contains("open it dequantized"), "{error}");
    assert_eq!(std::fs::read_dir(folder.path())?.count(), 0);
    Ok(())
}

/// Writes a llama2.c checkpoint of two layers and its tokenizer of the byte tokens and four more.
fn write_llama2c(folder: &Path) -> Result<PathBuf> {
    // dim, hidden_dim, n_layers, n_heads, n_kv_heads, vocab_size, seq_len
    let sizes = [8, 12, 2, 2, 1, 263, 16];
    let count = 263 * 8 + 2 * (2 * 8 + 64 + 32 + 32 + 64 + 3 * 96) + 8 + 16 * 4;
    let mut rng = Rng::new(5);
    let numbers: Vec<f32> = rng.normal_tensor(count, 0.3, DType::F32, &CPU)?.to_vec1()?;
    let numbers = numbers.iter().flat_map(|x| x.to_le_bytes());
    let model: Vec<u8> = sizes.into_iter().flat_map(i32::to_le_bytes).chain(numbers).collect();
    std::fs::write(folder.join("model.bin"), model)?;
    let pieces = ["<unk>", "\n<s>\n", "\n</s>\n"].map(String::from).into_iter();
    let pieces = pieces.chain((0..=255u8).map(|byte| format!("<0x{byte:02X}>")));
    let pieces = pieces.chain([" ", "a", " a", "e"].map(String::from)).enumerate();
    let entry = |(i, piece): (usize, String)| {
        let (score, length) = (-(i as f32), piece.len() as i32);
        [&score.to_le_bytes()[..], &length.to_le_bytes(), piece.as_bytes()].concat()
    };
    let tokenizer: Vec<u8> = 7u32.to_le_bytes().into_iter().chain(pieces.flat_map(entry)).collect();
    std::fs::write(folder.join("tok263.bin"), tokenizer)?;
    Ok(folder.join("model.bin"))
}

#[test]
fn an_invalid_chat_template_is_an_error_where_it_is_used() -> Result<()> {
    let folder = tempfile::tempdir()?;
    fresh(Tokenizer::from_gguf(&parts("byte_level"))?, None)?.save(folder.path())?;
    let open = || Checkpoint::open(folder.path().to_str().unwrap(), LoadMode::Inference, &CPU);
    assert!(open()?.chat_template.is_none());
    std::fs::write(folder.path().join("chat_template.jinja"), "{% if %}")?;
    let template = open()?.chat_template.unwrap();
    let error = template.render(&[], AddGenerationPrompt::No).unwrap_err().to_string();
    assert!(error.contains("chat_template.jinja, line 1: "), "{error}");
    Ok(())
}

#[test]
fn a_llama2c_model_is_saved_unchanged_as_a_llama_folder() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let path = write_llama2c(folder.path())?;
    check("llama2.c", &Checkpoint::open(path.to_str().unwrap(), LoadMode::Inference, &CPU)?)?;
    let Some(path) = course_data("models/stories260K.bin") else { return Ok(()) };
    check("stories260K", &Checkpoint::open(path.to_str().unwrap(), LoadMode::Inference, &CPU)?)
}

#[test]
fn a_gguf_model_can_be_saved_only_when_dequantized() -> Result<()> {
    let Some(path) = course_data("models/SmolLM2-135M-Instruct.Q4_1.gguf") else { return Ok(()) };
    let open = |mode| Checkpoint::open(path.to_str().unwrap(), mode, &CPU);
    let folder = tempfile::tempdir()?;
    let error = open(LoadMode::Inference)?.save(folder.path()).unwrap_err().to_string();
    assert!(error.contains("quantized"), "{error}");
    check("SmolLM2", &open(LoadMode::Training(DType::F32))?)
}
