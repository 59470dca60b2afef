//! Chat templates, their arguments, and the conversations that they render: within limits of
//! memory, the same each time, and with tokens that decode to the text.
#![no_main]

use fuzz::json_target;
use fuzz::small_model::{SPECIAL_TOKENS, tokenizer};
use model_io::{
    AddGenerationPrompt, ChatArguments, ChatDate, ChatMessage, ChatTemplate, ChatVariables,
    SkipSpecialTokens, Tokenizer,
};
use serde_json::Value;

/// Limit of a rendered text that the project promises.
const MAX_TEXT_BYTES: usize = 256_000_000;

thread_local! {
    static TOKENIZER: Tokenizer = tokenizer();
}

fn run(document: Value) {
    let source = document["chat_template"].as_str().unwrap_or_default();
    let messages: Vec<ChatMessage> =
        serde_json::from_value(document["messages"].clone()).unwrap_or_default();
    let arguments: ChatArguments = document["arguments"].to_string().parse().unwrap_or_default();
    let date = document["date"].as_str().and_then(|date| date.parse::<ChatDate>().ok());
    let variables = ChatVariables { date: date.or("2026-07-31".parse().ok()), arguments };
    TOKENIZER.with(|tokenizer| {
        let Ok(template) = ChatTemplate::new(source, tokenizer) else { return };
        let template = template.with_variables(&variables);
        for prompt in [AddGenerationPrompt::Yes, AddGenerationPrompt::No] {
            let Ok((text, spans)) = template.render_with_spans(&messages, prompt) else { continue };
            assert!(text.len() <= MAX_TEXT_BYTES, "{} bytes", text.len());
            assert!(spans.iter().all(|span| text.get(span.clone()).is_some()), "{spans:?}");
            if text.len() > 1 << 14 {
                continue;
            }
            let Ok(encoded) = template.encode(tokenizer, &messages, prompt) else { continue };
            let n = encoded.tokens.len();
            assert!(encoded.assistant_spans.iter().all(|span| span.end <= n && !span.is_empty()));
            let spelled = serde_json::to_string(&messages).expect("messages are JSON");
            if !SPECIAL_TOKENS.iter().any(|token| spelled.contains(token)) {
                let decoded = tokenizer.decode(&encoded.tokens, SkipSpecialTokens::No);
                assert_eq!(decoded.expect("bytes can be decoded"), text);
            }
        }
    });
}

json_target!("chat_template.dict", run);
