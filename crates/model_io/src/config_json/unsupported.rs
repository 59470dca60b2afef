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
        "mixtral" => "it is a mixture of experts, which `part_5 sample` opens",
        "qwen2_moe" | "qwen2moe" | "qwen3_moe" | "qwen3moe" | "olmoe" | "deepseek_v2"
        | "deepseek2" | "deepseek_v3" | "gpt_oss" | "gpt-oss" | "phimoe" | "granitemoe" => {
            "it is a mixture of experts of another kind than Mixtral"
        }
        "gpt2" => "it has learned positions and transposed matrices; `part_2` opens those it saved",
        "opt" => "it has learned positions, a ReLU in its MLP, and biases everywhere",
        "gpt_neox" | "gptneox" | "gptj" | "phi" | "phi2" => {
            "attention and MLP run in parallel, and RoPE turns only a part of each head"
        }
        "stablelm" => "it has LayerNorm, and RoPE turns only a part of each head",
        "starcoder2" => "it has LayerNorm, GELU and biases everywhere",
        "cohere" | "cohere2" | "command-r" => {
            "attention and MLP run in parallel, after a LayerNorm without bias"
        }
        "bloom" | "mpt" => "its positions are ALiBi, a bias on the attention logits",
        "phi3" => {
            "its query, key and value matrices are one (`qkv_proj`), and so are those of the gate \
             (`gate_up_proj`)"
        }
        "olmo" => "its LayerNorm has no weights",
        "olmo2" | "olmo3" => "its norms follow attention and MLP, instead of preceding them",
        "granite" => "it scales embeddings, residuals, attention and logits by constants",
        _ if name.starts_with("gemma") => {
            "its norms multiply by 1 + weight, and its embeddings by the root of their size"
        }
        _ => return None,
    })
}
