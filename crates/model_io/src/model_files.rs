//! Opening `--model`: a folder, a `.gguf` file, a llama2.c `.bin`, or one of the first two on the
//! Hub.
//!
//! Every format gives the same: an architecture and its weights under Hugging Face's names, a
//! tokenizer, the special token ids, and a chat template.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use candle_core::Device;
use tensor_core::{Parameters, json_file};

use crate::gguf::Gguf;
use crate::{
    ChatTemplate, GenerationConfig, GgufTokenizer, LoadMode, ModelWeights, SpecialTokenIds,
    Tokenizer, fetch_from_hub, gguf_model, gguf_tokenizer, is_hub_id, llama2c, llama2c_tokenizer,
    model_folder, peft_folder,
};

/// Folder of the checkpoints of a training run.
const CHECKPOINTS: &str = "checkpoints";

/// Model opened from its files: the weights, and all that is needed to use them.
pub struct ModelFiles {
    /// Architecture and weights.
    pub weights: ModelWeights,
    /// Tokenizer of the model.
    pub tokenizer: Tokenizer,
    /// Ids of bos and of the tokens that end a text.
    pub special_ids: SpecialTokenIds,
    /// Sampling settings recommended by the model's authors, if any (`generation_config.json`).
    pub generation: Option<GenerationConfig>,
    /// Chat template, if the model was trained for chat.
    pub chat_template: Option<ChatTemplate>,
}

impl ModelFiles {
    /// Opens `source`; in the folder of a training run, the model inside it.
    ///
    /// # Errors
    /// When `source` does not exist or cannot be used; the message names the reason and a remedy.
    pub fn open(source: &str, mode: LoadMode, device: &Device) -> Result<Self> {
        let source = &locate_model(source)?;
        ensure!(
            source.exists(),
            "there is no {}: expected a file, a folder, or the owner/name of a model on the Hub",
            source.display()
        );
        let run_model = source.join("model"); // in the folder of a training run
        let source = if run_model.join("config.json").is_file() { &run_model } else { source };
        ensure_model_saved(source)?;
        let extension = source.extension().and_then(|extension| extension.to_str());
        let files = match extension {
            _ if source.is_dir() => Self::from_folder(source, mode, device),
            Some("gguf") => Self::from_gguf(&Gguf::open(source)?, mode, device)
                .with_context(|| format!("{} cannot be used", source.display())),
            Some("bin") => Self::from_llama2c(source, mode, device),
            _ => bail!(
                "{} is not a model: expected a folder, a .gguf file or a llama2.c .bin",
                source.display()
            ),
        }?;
        let model_vocab = files.weights.config.vocab_size;
        let tokenizer_vocab = files.tokenizer.vocab_size();
        ensure!(
            tokenizer_vocab <= model_vocab,
            "{}: the tokenizer's vocabulary has {tokenizer_vocab} ids, the model's {model_vocab}",
            source.display()
        );
        Ok(files)
    }

    fn from_folder(folder: &Path, mode: LoadMode, device: &Device) -> Result<Self> {
        let weights = model_folder::open(folder, mode.dtype(), device)?;
        let tokenizer = Tokenizer::open(folder)?;
        let mut special_ids = model_folder::read_special_token_ids(folder)?;
        special_ids.bos = special_ids.bos.or(tokenizer.bos());
        if let (Some(eos), true) = (tokenizer.eos(), special_ids.eos.is_empty()) {
            special_ids.eos.push(eos);
        }
        let generation = GenerationConfig::open(folder)?;
        let chat_template = ChatTemplate::from_folder(folder, &tokenizer)?;
        Ok(Self { weights, tokenizer, special_ids, generation, chat_template })
    }

    fn from_gguf(file: &Gguf, mode: LoadMode, device: &Device) -> Result<Self> {
        let weights = gguf_model::open(file, mode, device)?;
        let tokenizer = Tokenizer::from_gguf(&GgufTokenizer::read(file)?)?;
        let special_ids = gguf_tokenizer::read_special_token_ids(file)?;
        let template = file.get_optional("tokenizer.chat_template", Gguf::get_str)?;
        let name = || format!("the chat template of {}", file.path().display());
        let chat_template =
            template.map(|source| ChatTemplate::from_model_files(name(), source, &tokenizer));
        Ok(Self { weights, tokenizer, special_ids, generation: None, chat_template })
    }

    fn from_llama2c(path: &Path, mode: LoadMode, device: &Device) -> Result<Self> {
        let (config, tensors) = llama2c::open(path)?;
        let parameters = Parameters::from_tensors(tensors, path.display(), 0, mode.dtype(), device);
        let weights = ModelWeights { config, parameters };
        let candidates = [format!("tok{}.bin", config.vocab_size), "tokenizer.bin".into()]
            .map(|name| path.with_file_name(name));
        let tokenizer_path = candidates.iter().find(|path| path.exists()).with_context(|| {
            format!(
                "{} needs its tokenizer in the same folder: {}",
                path.display(),
                candidates[0].display()
            )
        })?;
        let tokenizer = llama2c_tokenizer::open(tokenizer_path)?;
        // llama2.c's training texts follow one another directly, each beginning with bos, so a bos
        // ends the text before it.
        let eos = [tokenizer.bos(), tokenizer.eos()].into_iter().flatten().collect();
        let special_ids = SpecialTokenIds { bos: tokenizer.bos(), eos };
        Ok(Self { weights, tokenizer, special_ids, generation: None, chat_template: None })
    }
}

/// Path of the model or adapter `source`, which is downloaded if it is on the Hub.
///
/// # Errors
/// When a download fails.
pub fn locate_model(source: &str) -> Result<PathBuf> {
    if is_hub_id(source) { fetch_from_hub(source) } else { Ok(PathBuf::from(source)) }
}

/// Checks that `path` is not the folder of a training run that was stopped before it saved a model
/// or an adapter. The `config.json` of a run has its settings, and does not describe a model.
///
/// # Errors
/// When it is such a folder. The message names what to do: resume the run, or open its newest
/// checkpoint, if that holds a model.
pub fn ensure_model_saved(path: &Path) -> Result<()> {
    let (has, config) = (|name: &str| path.join(name).exists(), path.join("config.json"));
    let is_run = (has("metrics.jsonl") || has(CHECKPOINTS)) && config.is_file();
    if !is_run || has("model") || has("adapter") {
        return Ok(());
    }
    if !json_file::read(&config)?["model_type"].is_null() {
        return Ok(());
    }
    let resume = format!("continue it with `train --resume --out {}`", path.display());
    let remedy = match newest_checkpoint(path) {
        None => "it has no checkpoint, so start it again".to_string(),
        Some(checkpoint) => match model_of_checkpoint(checkpoint) {
            None => resume,
            Some(model) => format!("{resume}, or name its newest checkpoint, {}", model.display()),
        },
    };
    bail!("{} is a run that was stopped before it saved a model: {remedy}", path.display())
}

/// Folder of the newest checkpoint of `run`.
fn newest_checkpoint(run: &Path) -> Option<PathBuf> {
    let entries = std::fs::read_dir(run.join(CHECKPOINTS)).ok()?.flatten();
    let steps = entries.filter_map(|entry| {
        let name = entry.file_name();
        let step: usize = name.to_str()?.strip_prefix("step-")?.parse().ok()?;
        Some((step, entry.path()))
    });
    steps.max().map(|(_, folder)| folder)
}

/// Folder of the model or adapter in a checkpoint, if it has one: part 8 has its policy in a
/// folder, and some parts have weights alone.
fn model_of_checkpoint(checkpoint: PathBuf) -> Option<PathBuf> {
    let is_model =
        |folder: &PathBuf| folder.join("config.json").is_file() || peft_folder::is_adapter(folder);
    [checkpoint.join("policy"), checkpoint].into_iter().find(is_model)
}

/// Folder of the adapter at `path`, an adapter folder or a run that saved an adapter and no model;
/// `None` if it is something else.
pub fn find_adapter(path: &Path) -> Option<PathBuf> {
    let of_run = (!path.join("model").is_dir()).then(|| path.join("adapter"));
    let candidates = [Some(path.to_path_buf()), of_run].into_iter().flatten();
    { candidates }.find(|folder| peft_folder::is_adapter(folder))
}

/// Folder of the adapter `source`, which is downloaded if it is on the Hub.
///
/// # Errors
/// When it is not an adapter, or a download fails.
pub fn locate_adapter(source: &str) -> Result<PathBuf> {
    find_adapter(&locate_model(source)?).with_context(|| {
        format!(
            "{source} is not an adapter: expected a folder, or a model on the Hub, with {}",
            peft_folder::CONFIG
        )
    })
}
