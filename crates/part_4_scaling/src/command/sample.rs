//! `part_4 sample`: a trained model goes on with a text.

use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::Result;
use modern::sampler::Sampler;
use modern::{
    AddSpecialTokens, Checkpoint, GenerateConfig, LoadMode, ParseSpecial, SkipSpecialTokens,
    generate,
};
use tensor_core::Rng;

use super::arguments::SampleArgs;

pub(super) fn run(args: &SampleArgs) -> Result<()> {
    let device = args.compute.open_device()?;
    let folder = resolve_model_folder(&args.model);
    let checkpoint = Checkpoint::open(&folder.to_string_lossy(), LoadMode::Inference, &device)?;
    let Checkpoint { model, tokenizer, special_ids: ends, .. } = &checkpoint;
    // Texts begin where another has ended.
    let mut prompt: Vec<u32> = ends.bos.into_iter().collect();
    prompt.extend(tokenizer.encode(&args.prompt, AddSpecialTokens::No, ParseSpecial::No)?);
    let sampler = Sampler::new(args.sampling.sampling().into());
    let config = GenerateConfig::new(model, sampler, args.max_new_tokens, ends.eos.clone());
    let mut out = std::io::stdout().lock();
    write!(out, "{}", args.prompt)?;
    let mut stream = tokenizer.stream(SkipSpecialTokens::Yes, &prompt);
    let mut rng = Rng::new(args.compute.seed);
    generate(model, &[prompt.clone()], &config, &mut rng, |_, token| {
        write!(out, "{}", stream.push(token)?)?;
        Ok(out.flush()?)
    })?;
    writeln!(out, "{}", stream.finish()?)?;
    Ok(())
}

/// The model folder that `path` is or, being a run, has.
pub(super) fn resolve_model_folder(path: &Path) -> PathBuf {
    let model = path.join("model");
    if model.is_dir() { model } else { path.to_path_buf() }
}
