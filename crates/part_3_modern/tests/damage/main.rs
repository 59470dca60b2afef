//! Damaged files of every format: they must load or fail with one line that names the file, without
//! a panic and without more memory than the file size justifies.

mod bytes;
mod safetensors;
mod folder;
mod tokenizer;
mod llama2c;
mod gguf;

use std::path::{Path, PathBuf};

use anyhow::Result;
use candle_core::{DType, Device};
use model_io::{AddSpecialTokens, LoadMode, ParseSpecial, SkipSpecialTokens};
use modern::sampler::{Sampler, SamplingStrategy};
use modern::{Checkpoint, GenerateConfig, generate};
use tensor_core::Rng;
use tensor_core::testing::CountingAllocator;

#[global_allocator]
static ALLOCATOR: CountingAllocator = CountingAllocator::new();

/// Memory limit in bytes for loading a file of this size. Weights exist as bytes, as stored numbers
/// and in the requested dtype; tokenizer lists as JSON, as values and as maps of strings, up to 100
/// bytes per byte of the file. The constant covers what does not depend on the file.
fn memory_limit(bytes: u64) -> usize {
    100 * bytes as usize + (4 << 20)
}

fn golden(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(name)
}

/// Size of a file, or of all files in a folder.
fn length(path: &Path) -> u64 {
    match std::fs::read_dir(path) {
        Ok(entries) => entries.map(|entry| length(&entry.expect("an entry").path())).sum(),
        Err(_) => path.metadata().map_or(0, |file| file.len()),
    }
}

/// Error as the program prints it: the first line of each cause.
fn error_line(error: &anyhow::Error) -> String {
    let causes = error.chain().map(ToString::to_string);
    let first = |cause: String| cause.lines().next().unwrap_or_default().to_string();
    causes.map(first).collect::<Vec<_>>().join(": ")
}

/// Result of `open` for the file or folder at `path`; asserts the memory limit and a one-line error
/// that names the path.
fn checked_open<T>(path: &Path, open: impl FnOnce() -> Result<T>) -> Result<T, String> {
    let (result, peak) = ALLOCATOR.thread_peak_during(open);
    let limit = memory_limit(length(path));
    assert!(peak <= limit, "loading used {peak} bytes of memory, the limit is {limit}");
    result.map_err(|error| {
        let line = error_line(&error);
        let name = path.to_string_lossy();
        assert!(line.contains(&*name), "the error does not name the file: {line}");
        assert!(line.len() > name.len() + 5 && line.len() < 2000, "{line}");
        line
    })
}

/// Opens a model of any format, for training and for inference, and generates a few tokens. `path`
/// is the model, or a folder that contains it and its tokenizer.
fn load_and_generate(path: &Path, model: &Path) -> Result<(), String> {
    for mode in [LoadMode::Training(DType::F32), LoadMode::Inference] {
        let source = model.to_string_lossy();
        let Checkpoint { model, tokenizer, .. } =
            checked_open(path, || Checkpoint::open(&source, mode, &Device::Cpu))?;
        if mode != LoadMode::Inference {
            continue;
        }
        let prompt = vec![1, 2, 3];
        let strategy = SamplingStrategy::Random {
            temperature: 1.,
            top_k: Some(9),
            top_p: Some(0.9),
            min_p: None,
        };
        let config = GenerateConfig::new(&model, Sampler::new(strategy), 3, Vec::new());
        let (completions, peak) = ALLOCATOR.thread_peak_during(|| {
            generate(&model, &[prompt], &config, &mut Rng::new(1), |_, _| Ok(()))
        });
        let limit = memory_limit(length(path));
        assert!(peak <= limit, "generation used {peak} bytes of memory, the limit is {limit}");
        if let Ok(completions) = completions {
            let _ = tokenizer.decode(&completions[0].tokens, SkipSpecialTokens::No);
        }
        let _ = tokenizer.encode("ab </s> é12", AddSpecialTokens::Yes, ParseSpecial::No);
    }
    Ok(())
}
