//! 4.5: bits per byte are those of the bytes of the text, without the tokens that end documents.

use anyhow::Result;
use candle_core::{DType, Device};
use model_io::ModelConfig;
use model_io::config::PositionEncoding;
use modern::GptModern;
use tensor_core::Parameters;
use tensor_core::testing::assert_close;

use super::training::dataset;
use crate::evaluation::{LmEvalConfig, evaluate};

#[test]
fn windows_beyond_the_learned_positions_are_refused_before_the_text_is_read() {
    let rope = ModelConfig::byte_level(256, 1, 2, 8);
    let mut learned = rope;
    learned.attention.position = PositionEncoding::Learned { offset: 0 };
    let check = |window_len, config| {
        LmEvalConfig { batch_size: 1, max_windows: None, window_len }.check(config)
    };
    assert!(check(None, &learned).is_ok() && check(Some(256), &learned).is_ok());
    assert!(check(Some(100_000), &rope).is_ok());
    let error = check(Some(257), &learned).expect_err("refused").to_string();
    assert_eq!(error, "--context-len 257: the model's context is 256 tokens");
}

#[test]
fn a_model_that_knows_nothing_needs_log2_v_bits_per_token_over_the_bytes_of_the_text() -> Result<()>
{
    const DOCUMENT: &str = "the cat sat on the mat and slept"; // each document of `dataset`
    let folder = tempfile::tempdir()?;
    let data = dataset(folder.path())?;
    let vocab_size = data.tokenizer.vocab_size();
    let config = ModelConfig { vocab_size, ..ModelConfig::byte_level(8, 1, 2, 8) };
    let mut parameters = Parameters::seeded(0, DType::F32, &Device::Cpu);
    GptModern::new(&config, parameters.root())?;
    let tied = parameters.get("model.embed_tokens.weight").expect("an embedding");
    tied.var.zero_set()?; // all logits are 0
    let model = GptModern::new(&config, parameters.for_inference().root())?;
    let everything = LmEvalConfig { batch_size: 3, max_windows: None, window_len: None };
    let metrics = evaluate(&model, &data.train, everything)?;
    let n_bytes = data.train.n_documents() * DOCUMENT.len();
    let n_bits = (vocab_size as f64).log2() * (data.train.len() - 1) as f64;
    assert_close(metrics.loss, (vocab_size as f64).ln(), 1e-5);
    assert_close(metrics.bits_per_byte, n_bits / n_bytes as f64, 1e-5);
    Ok(())
}
