//! Damaged files of every kind are opened or refused in one line that names the file: never a panic, and never more memory
//! than the file justifies.

mod bytes;
mod safetensors;
mod folder;
mod tokenizer;
mod llama2c;
mod gguf;

use std::path::{Path, PathBuf};

use anyhow::Result;
use candle_core::{DType, Device};
use modern::LoadMode;
use modern::sampler::{Sampler, SamplingStrategy};
use modern::{
    AddSpecialTokens, Checkpoint, GenerateConfig, ParseSpecial, SkipSpecialTokens, generate,
};
use tensor_core::Rng;
use tensor_core::testing::CountingAllocator;

#[global_allocator]
static ALLOCATOR: CountingAllocator = CountingAllocator::new();

/// What opening may hold at a time: a file as bytes, as numbers and as numbers of the type asked for; a tokenizer's lists
/// as JSON, as values and as maps of strings, of which a byte of the file makes a hundred; and what is there without any.
fn allowed(bytes: u64) -> usize {
    100 * bytes as usize + (4 << 20)
}

fn golden(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(name)
}

/// The length of a file, or of all in a folder.
fn length(path: &Path) -> u64 {
    match std::fs::read_dir(path) {
        Ok(entries) => entries.map(|entry| length(&entry.expect("an entry").path())).sum(),
        Err(_) => path.metadata().map_or(0, |file| file.len()),
    }
}

/// The error as a program says it: the first line of each cause.
fn line(error: &anyhow::Error) -> String {
    let causes = error.chain().map(ToString::to_string);
    let first = |cause: String| cause.lines().next().unwrap_or_default().to_string();
    causes.map(first).collect::<Vec<_>>().join(": ")
}

/// What `open` makes of the file or folder at `path`, or its error; asserts what this file's header says.
fn tried<T>(path: &Path, open: impl FnOnce() -> Result<T>) -> Result<T, String> {
    let (result, most) = ALLOCATOR.thread_peak_during(open);
    let allowed = allowed(length(path));
    assert!(most <= allowed, "{most} bytes of memory, {allowed} are enough");
    result.map_err(|error| {
        let line = line(&error);
        let name = path.to_string_lossy();
        assert!(line.contains(&*name), "the error does not say which file: {line}");
        assert!(line.len() > name.len() + 5 && line.len() < 2000, "{line}");
        line
    })
}

/// Opens a model of whatever kind, for both purposes, and writes a little with it. `path` is the model, or a folder that
/// holds it and what belongs to it.
fn used(path: &Path, model: &Path) -> Result<(), String> {
    for purpose in [LoadMode::Training(DType::F32), LoadMode::Inference] {
        let source = model.to_string_lossy();
        let Checkpoint { model, tokenizer, .. } =
            tried(path, || Checkpoint::open(&source, purpose, &Device::Cpu))?;
        if purpose != LoadMode::Inference {
            continue;
        }
        let prompt = vec![1, 2, 3];
        let choice = SamplingStrategy::Random {
            temperature: 1.,
            top_k: Some(9),
            top_p: Some(0.9),
            min_p: None,
        };
        let config = GenerateConfig::new(&model, Sampler::new(choice), 3, Vec::new());
        let (written, most) = ALLOCATOR.thread_peak_during(|| {
            generate(&model, &[prompt], &config, &mut Rng::new(1), |_, _| Ok(()))
        });
        let allowed = allowed(length(path));
        assert!(most <= allowed, "{most} bytes of memory to write, {allowed} are enough");
        if let Ok(written) = written {
            let _ = tokenizer.decode(&written[0].tokens, SkipSpecialTokens::No);
        }
        let _ = tokenizer.encode("ab </s> é12", AddSpecialTokens::Yes, ParseSpecial::No);
    }
    Ok(())
}
