//! Opening `--model`: a folder, a `.gguf` file, a llama2.c `.bin`, or one of the first two on the
//! Hub.
//!
//! Every format gives the same: a model, its tokenizer, its special token ids, and its chat
//! template.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use candle_core::Device;
use tensor_core::Parameters;

use crate::config::{
    AttentionBias, AttentionConfig, LmHead, Mlp, ModelConfig, NormKind, PositionEncoding, QkNorm,
};
use crate::gguf::Gguf;
use crate::gguf_model;
use crate::llama2c::{self, Classifier, Llama2cHeader};
use crate::model_folder::{self, SpecialTokenIds};
use crate::{
    ChatTemplate, GptModern, HubFiles, LoadMode, Sampler, Tokenizer, fetch_from_hub,
    generation_config, is_hub_id, llama2c_tokenizer,
};

/// Model with its weights, tokenizer and settings.
pub struct Checkpoint {
    /// Model; when opened for inference, a copy that builds no autograd graph.
    pub model: GptModern,
    /// Weights of the model.
    pub parameters: Parameters,
    /// Tokenizer of the model.
    pub tokenizer: Tokenizer,
    /// Ids of bos and of the tokens that end a text.
    pub special_ids: SpecialTokenIds,
    /// Sampler recommended by the model's authors, if any (`generation_config.json`).
    pub sampler: Option<Sampler>,
    /// Chat template, if the model was trained for chat.
    pub chat_template: Option<ChatTemplate>,
}

impl Checkpoint {
    /// Opens `source`; in the folder of a training run, the model inside it.
    ///
    /// # Errors
    /// When `source` does not exist or cannot be used; the message names the reason and a remedy.
    pub fn open(source: &str, mode: LoadMode, device: &Device) -> Result<Self> {
        let source = match is_hub_id(source) {
            true => &fetch_from_hub(source, HubFiles::Model)?,
            false => Path::new(source),
        };
        ensure!(
            source.exists(),
            "there is no {}: expected a file, a folder, or the owner/name of a model on the Hub",
            source.display()
        );
        let run_model = source.join("model"); // in the folder of a training run
        let source = if run_model.join("config.json").is_file() { &run_model } else { source };
        ensure!(
            !(source.join("metrics.jsonl").is_file() && source.join("adapter").is_dir()),
            "the run in {} saved only an adapter: run it with --merge to save a model, too",
            source.display()
        );
        let extension = source.extension().and_then(|extension| extension.to_str());
        let checkpoint = match extension {
            _ if source.is_dir() => Self::from_folder(source, mode, device),
            Some("gguf") => Self::from_gguf(source, mode, device),
            Some("bin") => Self::from_llama2c(source, mode, device),
            _ => bail!(
                "{} is not a model: expected a folder, a .gguf file or a llama2.c .bin",
                source.display()
            ),
        }?;
        let model_vocab = checkpoint.model.config().vocab_size;
        let tokenizer_vocab = checkpoint.tokenizer.vocab_size();
        ensure!(
            tokenizer_vocab <= model_vocab,
            "{}: the tokenizer has {tokenizer_vocab} tokens, the model's vocabulary {model_vocab}",
            source.display()
        );
        match mode {
            LoadMode::Training(_) => Ok(checkpoint),
            LoadMode::Inference | LoadMode::DequantizedInference => checkpoint.into_inference(),
        }
    }

    /// The checkpoint with an inference copy of the model, which builds no autograd graph.
    ///
    /// # Errors
    /// When memory is short.
    fn into_inference(self) -> Result<Self> {
        let mut inference_parameters = self.parameters.for_inference();
        let model = GptModern::new(self.model.config(), inference_parameters.root())?;
        Ok(Self { model, ..self })
    }

    /// Writes a Hugging Face model folder, which [`Checkpoint::open`] and transformers can open:
    /// the tokenizer and the chat template, the configuration, and last the weights.
    ///
    /// # Errors
    /// When the weights are quantized (open the model for training to save it), or a file cannot be
    /// written.
    pub fn save(&self, folder: &Path) -> Result<()> {
        let config = self.model.config();
        model_folder::ensure_unquantized(&self.parameters)?;
        self.tokenizer.save(folder, config.context_len, self.chat_template.as_ref())?;
        model_folder::save(
            folder,
            config,
            &self.parameters,
            &self.special_ids,
            self.sampler.as_ref(),
        )
    }

    fn from_folder(folder: &Path, mode: LoadMode, device: &Device) -> Result<Self> {
        let (model, parameters) = model_folder::open(folder, mode.dtype(), device)?;
        let tokenizer = Tokenizer::open(folder)?;
        let mut special_ids = model_folder::read_special_token_ids(folder)?;
        special_ids.bos = special_ids.bos.or(tokenizer.bos());
        if let (Some(eos), true) = (tokenizer.eos(), special_ids.eos.is_empty()) {
            special_ids.eos.push(eos);
        }
        let sampler = generation_config::read_sampler(folder)?;
        let chat_template = ChatTemplate::from_folder(folder, &tokenizer)?;
        Ok(Self { model, parameters, tokenizer, special_ids, sampler, chat_template })
    }

    fn from_gguf(path: &Path, mode: LoadMode, device: &Device) -> Result<Self> {
        let file = Gguf::open(path)?;
        let cannot_be_used = || format!("{} cannot be used", path.display());
        let (model, parameters) =
            gguf_model::open(&file, mode, device).with_context(cannot_be_used)?;
        let parts = gguf_model::read_tokenizer(&file).with_context(cannot_be_used)?;
        let tokenizer = Tokenizer::from_gguf(&parts).with_context(cannot_be_used)?;
        let special_ids = gguf_model::read_special_token_ids(&file).with_context(cannot_be_used)?;
        let template_source = file.get_optional("tokenizer.chat_template", Gguf::get_str)?;
        let chat_template = template_source
            .map(|source| ChatTemplate::new(source, &tokenizer))
            .transpose()
            .with_context(cannot_be_used)?;
        Ok(Self { model, parameters, tokenizer, special_ids, sampler: None, chat_template })
    }

    fn from_llama2c(path: &Path, mode: LoadMode, device: &Device) -> Result<Self> {
        let (header, tensors) = llama2c::open(path)?;
        let config = llama2c_config(&header);
        let (model, parameters) =
            model_folder::model_from_tensors(&config, tensors, path, mode.dtype(), device)?;
        let same_folder = |name: String| path.with_file_name(name);
        let candidates: [PathBuf; 2] = [
            same_folder(format!("tok{}.bin", header.vocab_size)),
            same_folder("tokenizer.bin".into()),
        ];
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
        Ok(Self { model, parameters, tokenizer, special_ids, sampler: None, chat_template: None })
    }
}

fn llama2c_config(header: &Llama2cHeader) -> ModelConfig {
    let position = PositionEncoding::Rope { base: Llama2cHeader::ROPE_THETA, scaling: None };
    ModelConfig {
        vocab_size: header.vocab_size,
        n_layer: header.n_layer,
        n_embd: header.n_embd,
        context_len: header.context_len,
        norm: NormKind::Rms { eps: Llama2cHeader::RMS_NORM_EPS },
        attention: AttentionConfig {
            n_head: header.n_head,
            n_kv_head: header.n_kv_head,
            head_dim: header.head_dim(),
            bias: AttentionBias::None,
            qk_norm: QkNorm::None,
            position,
            window: None,
        },
        mlp: Mlp::SwiGlu { width: header.hidden_dim },
        lm_head: match header.classifier {
            Classifier::Tied => LmHead::Tied,
            Classifier::Untied => LmHead::Untied,
        },
        init_std: ModelConfig::GPT2_INIT_STD,
    }
}
