//! Families of transformers and llama.cpp that [`ModelConfig`](crate::ModelConfig) cannot describe.

/// Error for the family `name`: what is special about it, if it is well known, and the families
/// that are `supported`.
pub(crate) fn unsupported_family(name: &str, supported: &[&str]) -> String {
    let reason = difference(name).map(|reason| format!(", because {reason}")).unwrap_or_default();
    format!("`{name}` is not supported{reason}: expected one of {}", supported.join(", "))
}

/// Difference of a well-known family from the supported ones, as a clause.
fn difference(name: &str) -> Option<&'static str> {
    Some(match name {
        "qwen2_moe" | "qwen2moe" => "every token also passes through a shared expert",
        "olmoe" | "deepseek_v2" | "deepseek2" | "deepseek_v3" | "gpt_oss" | "gpt-oss"
        | "phimoe" | "granitemoe" => {
            "it is a mixture of experts of another kind than Mixtral and Qwen3-MoE"
        }
        "gemma3" => {
            "of Gemma 3, only the models that read text alone (270M, 1B) are opened from folders, \
             of model_type `gemma3_text`; the text models of the others from a .gguf file"
        }
        "gpt_bigcode" => "all its heads share one key and value, in one matrix with the queries",
        "gptj" | "codegen" => "attention and MLP share one norm, and RoPE turns adjacent channels",
        "phi" | "phi2" => "attention and MLP share one norm, and its LM head has a bias",
        "falcon" => "attention and MLP share one norm, and so do the keys of all heads",
        "stablelm" => "it has LayerNorm beside SwiGLU, and RoPE turns only a part of each head",
        "starcoder2" => "it has LayerNorm, GELU and biases beside RoPE",
        "cohere" | "cohere2" | "command-r" => {
            "attention and MLP run in parallel, after a LayerNorm without bias"
        }
        "bloom" | "mpt" => "its positions are ALiBi, a bias on the attention logits",
        "olmo" => "its LayerNorm has no weights",
        "olmo2" | "olmo3" => "its norms follow attention and MLP, instead of preceding them",
        "granite" => "it scales embeddings, residuals, attention and logits by constants",
        "gemma3n" | "gemma3n_text" => {
            "it has embeddings for each layer, and layers that share keys and values"
        }
        _ => return None,
    })
}
