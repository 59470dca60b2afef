//! Whatever `--model` names: a folder, a `.gguf` file, a llama2.c `.bin`, or one of the former two on the Hub. What comes
//! out is the same: a model, its tokenizer, where its texts end, and how it is spoken to.

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

/// A model and what belongs to it.
pub struct Checkpoint {
    /// The model: for inference its twin, which builds no graph.
    pub model: GptModern,
    /// Its weights.
    pub parameters: Parameters,
    /// Text to ids and back.
    pub tokenizer: Tokenizer,
    /// The tokens at which texts end.
    pub special_ids: SpecialTokenIds,
    /// How its makers would have its tokens chosen, if they say.
    pub sampler: Option<Sampler>,
    /// How a chat is written, if the model was trained on any.
    pub chat_template: Option<ChatTemplate>,
}

impl Checkpoint {
    /// Opens `source`; of a run's folder, the model in it.
    ///
    /// # Errors
    /// When there is nothing, or something that cannot be used: says what, and what to do.
    pub fn open(source: &str, purpose: LoadMode, device: &Device) -> Result<Self> {
        let source = match is_hub_id(source) {
            true => &fetch_from_hub(source, HubFiles::Model)?,
            false => Path::new(source),
        };
        ensure!(
            source.exists(),
            "there is no {}: expected a file, a folder, or the owner/name of a model on the Hub",
            source.display()
        );
        let inside = source.join("model"); // of a run's folder
        let source = if inside.join("config.json").is_file() { &inside } else { source };
        ensure!(
            !(source.join("metrics.jsonl").is_file() && source.join("adapter").is_dir()),
            "the run in {} made an adapter alone: with --merge it makes a model, too",
            source.display()
        );
        let extension = source.extension().and_then(|extension| extension.to_str());
        let checkpoint = match extension {
            _ if source.is_dir() => Self::from_folder(source, purpose, device),
            Some("gguf") => Self::from_gguf(source, purpose, device),
            Some("bin") => Self::from_llama2c(source, purpose, device),
            _ => bail!(
                "{} is no model: expected a folder, a .gguf file or a llama2.c .bin",
                source.display()
            ),
        }?;
        let (v, named) = (checkpoint.model.config().vocab_size, checkpoint.tokenizer.vocab_size());
        ensure!(
            named <= v,
            "{}: the tokenizer has {named} tokens, the model knows {v}",
            source.display()
        );
        match purpose {
            LoadMode::Training(_) => Ok(checkpoint),
            LoadMode::Inference | LoadMode::DequantizedInference => checkpoint.into_inference(),
        }
    }

    /// The same with the model's inference twin, which builds no graph.
    ///
    /// # Errors
    /// When memory is short.
    fn into_inference(self) -> Result<Self> {
        let mut twin = self.parameters.for_inference();
        let model = GptModern::new(self.model.config(), twin.root())?;
        Ok(Self { model, ..self })
    }

    /// Writes a model folder as Hugging Face has it, which [`Checkpoint::open`] and transformers open as it is here: the
    /// tokenizer and the chat template, the configuration, and last the weights.
    ///
    /// # Errors
    /// When the weights are quantized (open the model for training to save it), or a file cannot be written.
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

    fn from_folder(folder: &Path, purpose: LoadMode, device: &Device) -> Result<Self> {
        let (model, parameters) = model_folder::open(folder, purpose.dtype(), device)?;
        let tokenizer = Tokenizer::open(folder)?;
        let mut ends = model_folder::read_special_token_ids(folder)?;
        ends.bos = ends.bos.or(tokenizer.bos());
        if let (Some(eos), true) = (tokenizer.eos(), ends.eos.is_empty()) {
            ends.eos.push(eos);
        }
        let sampler = generation_config::read_sampler(folder)?;
        let template = ChatTemplate::from_folder(folder, &tokenizer)?;
        Ok(Self {
            model,
            parameters,
            tokenizer,
            special_ids: ends,
            sampler,
            chat_template: template,
        })
    }

    fn from_gguf(path: &Path, purpose: LoadMode, device: &Device) -> Result<Self> {
        let file = Gguf::open(path)?;
        let cannot = || format!("{} cannot be used", path.display());
        let (model, parameters) = gguf_model::open(&file, purpose, device).with_context(cannot)?;
        let parts = gguf_model::read_tokenizer(&file).with_context(cannot)?;
        let tokenizer = Tokenizer::from_gguf(&parts).with_context(cannot)?;
        let ends = gguf_model::read_special_token_ids(&file).with_context(cannot)?;
        let template = file.get_optional("tokenizer.chat_template", Gguf::get_str)?;
        let template = template
            .map(|source| ChatTemplate::new(source, &tokenizer))
            .transpose()
            .with_context(cannot)?;
        Ok(Self {
            model,
            parameters,
            tokenizer,
            special_ids: ends,
            sampler: None,
            chat_template: template,
        })
    }

    fn from_llama2c(path: &Path, purpose: LoadMode, device: &Device) -> Result<Self> {
        let (header, tensors) = llama2c::open(path)?;
        let config = llama2c_config(&header);
        let (model, parameters) =
            model_folder::model_from_tensors(&config, tensors, path, purpose.dtype(), device)?;
        let beside = |name: String| path.with_file_name(name);
        let candidates: [PathBuf; 2] =
            [beside(format!("tok{}.bin", header.vocab_size)), beside("tokenizer.bin".into())];
        let found = candidates.iter().find(|path| path.exists()).with_context(|| {
            format!("{} needs its tokenizer beside it: {}", path.display(), candidates[0].display())
        })?;
        let tokenizer = llama2c_tokenizer::open(found)?;
        // Its texts begin anew after one another: the beginning of the next is the end of this.
        let eos = [tokenizer.bos(), tokenizer.eos()].into_iter().flatten().collect();
        let ends = SpecialTokenIds { bos: tokenizer.bos(), eos };
        Ok(Self {
            model,
            parameters,
            tokenizer,
            special_ids: ends,
            sampler: None,
            chat_template: None,
        })
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
