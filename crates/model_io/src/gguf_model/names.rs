//! Tensor names: llama.cpp's converted to Hugging Face's.

/// Hugging Face's name of llama.cpp's tensor `name`: `blk.3.attn_q.weight` becomes
/// `model.layers.3.self_attn.q_proj.weight`. `None` for an unknown tensor.
pub(super) fn hf_name(name: &str) -> Option<String> {
    let (module, kind) = name.rsplit_once('.')?;
    let hf_module = match module {
        "token_embd" => "model.embed_tokens".to_string(),
        "output_norm" => "model.norm".to_string(),
        "output" => "lm_head".to_string(),
        _ => {
            let (layer, part) = module.strip_prefix("blk.")?.split_once('.')?;
            let part = match part {
                "attn_norm" => "input_layernorm",
                "ffn_norm" => "post_attention_layernorm",
                "attn_q" => "self_attn.q_proj",
                "attn_k" => "self_attn.k_proj",
                "attn_v" => "self_attn.v_proj",
                "attn_output" => "self_attn.o_proj",
                "attn_q_norm" => "self_attn.q_norm",
                "attn_k_norm" => "self_attn.k_norm",
                "ffn_gate" => "mlp.gate_proj",
                "ffn_up" => "mlp.up_proj",
                "ffn_down" => "mlp.down_proj",
                _ => return None,
            };
            format!("model.layers.{layer}.{part}")
        }
    };
    Some(format!("{hf_module}.{kind}"))
}
