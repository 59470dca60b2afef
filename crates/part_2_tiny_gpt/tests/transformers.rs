//! The model folder that `train` writes loads in Hugging Face transformers, with the same logits
//! and the same tokenizer.
//!
//! Runs if `$COURSE_PYTHON` (else `python3`) has torch and transformers; otherwise it prints that
//! it was skipped.

use std::path::Path;

use anyhow::Result;
use candle_core::{Device, Module, Tensor};
use serde_json::json;
use tensor_core::testing::{Program, assert_python_agrees, path_arg};
use tiny_gpt::{ByteTokenizer, model_folder};

#[test]
fn transformers_loads_the_saved_model_with_the_same_logits() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let run = path_arg(folder.path(), "run");
    let data = path_arg(Path::new(env!("CARGO_MANIFEST_DIR")), "../../data/tiny_hi.txt");
    let mut args = vec!["train", "--steps", "5", "--n-layer", "2", "--n-head", "2"];
    args.extend(["--n-embd", "16", "--context-len", "32", "--batch-size", "4"]);
    args.extend(["--sample-interval", "0", "--data", &data, "--out", &run]);
    Program(env!("CARGO_BIN_EXE_part_2")).stdout(&args);

    let saved = Path::new(&run).join("model");
    let model = model_folder::open_byte_level(&saved, &Device::Cpu)?;
    let text = "Once, नमस्ते 🙂\n";
    let ids = ByteTokenizer.encode(text);
    let logits = model.forward(&Tensor::new(ids.as_slice(), &Device::Cpu)?.unsqueeze(0)?)?;
    let logits = logits.squeeze(0)?.to_vec2::<f32>()?;
    let check = folder.path().join("check.json");
    let expected = json!({ "input_ids": ids, "logits": logits, "text": text, "text_ids": ids });
    std::fs::write(&check, expected.to_string())?;

    assert_python_agrees("check_gpt2_folder.py", [saved, check]);
    Ok(())
}
