//! Labeled completions: tokens, rows that do not fit, KTO's rows and its mismatched completions.

use anyhow::{Context, Result};
use datasets::{DatasetFlags, FilteredPreferences, Preference, PreferenceColumns};
use model_io::{ChatMessage, ChatTemplate, SkipSpecialTokens};
use modern::FinishReason;
use ppo::SampledCompletion;
use reward::flags::PreferenceFlags;
use serde_json::{Value, json};
use sft::ChatTokenizer;

use super::{chat_tokenizer, completion, golden, pair};
use crate::preference_example::{
    Label, PreferenceExample, PreferenceRow, PreferenceType, examples_sha256, mismatched, tokenize,
};
use crate::source::load_all;

fn row(prompt: &str, chosen: &str, rejected: &str) -> PreferenceRow {
    Preference::new(prompt, chosen, rejected).into()
}

#[test]
fn a_completion_is_its_text_and_eos_after_the_prompt_of_a_model_that_answers() -> Result<()> {
    let tokenizer = chat_tokenizer()?;
    let rows = [row("What is 12 + 7?", "19", "the answer")];
    let (examples, counts) = tokenize(&rows, &tokenizer, 64)?;
    assert_eq!(counts.n_dropped() + counts.n_truncated, 0);
    assert_eq!(examples[0].group.prompt, tokenizer.encode_prompt(&rows[0].prompt)?);
    assert_eq!(examples[0].labels, [Label::Chosen, Label::Rejected]);
    for (completion, text) in examples[0].group.completions.iter().zip(["19", "the answer"]) {
        let mut expected = tokenizer.encode_completion_without_eos(text)?;
        expected.push(tokenizer.eos_token_id());
        assert_eq!(completion.tokens, expected);
        assert!(completion.terminated());
    }
    Ok(())
}

#[test]
fn rows_beyond_the_context_are_cut_without_eos_or_dropped_by_name() -> Result<()> {
    let tokenizer = chat_tokenizer()?;
    let prompt_len = tokenizer.encode_prompt(&row("12", "", "").prompt)?.len();
    let rows = [
        row("12", "7", "19 the answer of all"),
        row("12", "the answer of all", "the answer of all 7"),
        row("What is the answer of all answer of all answer?", "7", "1"),
    ];
    let (examples, counts) = tokenize(&rows, &tokenizer, prompt_len + 2)?;
    assert_eq!((examples.len(), counts.n_truncated), (1, 1));
    assert_eq!((counts.n_identical, counts.n_skipped), (1, 1));
    assert_eq!(counts.first_dropped.as_deref(), Some("12"));
    let [chosen, rejected] = &examples[0].group.completions[..] else { panic!("a pair") };
    assert_eq!(chosen.finish_reason, FinishReason::Stop);
    assert_eq!(rejected.finish_reason, FinishReason::ContextFull);
    assert_eq!(rejected.tokens.len(), 2);
    assert!(!rejected.tokens.contains(&tokenizer.eos_token_id()));
    // No token is predicted from EOS, so it alone may lie beyond the context.
    let (examples, _) = tokenize(&rows[..1], &tokenizer, prompt_len + 1)?;
    let [chosen, rejected] = &examples[0].group.completions[..] else { panic!("a pair") };
    assert_eq!((chosen.tokens.len(), chosen.finish_reason), (2, FinishReason::Stop));
    assert_eq!((rejected.tokens.len(), rejected.finish_reason), (1, FinishReason::ContextFull));
    Ok(())
}

/// Prompt and tokens of each completion, sorted.
fn prompts_and_completions(examples: &[PreferenceExample]) -> Vec<(Vec<u32>, Vec<u32>)> {
    let groups = examples.iter().map(|example| &example.group);
    let mut all: Vec<_> = groups
        .flat_map(|group| {
            group.completions.iter().map(|c| (group.prompt.clone(), c.tokens.clone()))
        })
        .collect();
    all.sort();
    all
}

#[test]
fn mismatched_completions_are_those_of_other_prompts() {
    let examples = [
        pair(&[1], &[2, 0], &[3, 0]),
        pair(&[1], &[4, 0], &[5, 0]), // the same prompt, so its completions would match
        pair(&[9], &[6, 0], &[7, 0]),
    ];
    let of_others = mismatched(&examples, 16).expect("other prompts");
    let tokens: Vec<_> = of_others
        .iter()
        .map(|example| (example.group.prompt[0], &example.group.completions))
        .map(|(prompt, completions)| (prompt, completions[0].tokens[0], completions[1].tokens[0]))
        .collect();
    assert_eq!(tokens, [(1, 6, 7), (1, 6, 7), (9, 2, 3)]);
    assert!(mismatched(&examples[..2], 16).is_none());
}

#[test]
fn mismatched_completions_are_those_of_trls_trainer() -> Result<()> {
    let golden = golden("kto_mismatches.json")?;
    let ids = |row: &Value, key: &str, end: &[u32]| -> Result<Vec<u32>> {
        Ok([serde_json::from_value::<Vec<u32>>(row[key].clone())?, end.to_vec()].concat())
    };
    let pairs = golden["rows"].as_array().context("rows")?.iter().map(|row| {
        Ok(pair(
            &ids(row, "prompt", &[])?,
            &ids(row, "chosen", &[2])?,
            &ids(row, "rejected", &[2])?,
        ))
    });
    let pairs: Vec<PreferenceExample> = pairs.collect::<Result<_>>()?;
    let trl = golden["mismatched"].as_array().context("mismatched")?.iter();
    let trl = trl.map(|row| Ok((ids(row, "prompt", &[])?, ids(row, "completion", &[])?)));
    let mut trl: Vec<_> = trl.collect::<Result<_>>()?;
    trl.sort();
    let ours = mismatched(&pairs, 64).context("other prompts")?;
    assert_eq!(prompts_and_completions(&ours), trl);
    Ok(())
}

/// Single completions as they come from pairs: two rows of each prompt, the chosen one first.
#[test]
fn the_mismatched_completions_of_single_rows_are_the_matched_ones_each_once() {
    let row = |prompt: u32, label, token: u32| {
        PreferenceExample::new(vec![prompt], vec![(label, completion(&[token, 0]))])
    };
    let rows: Vec<PreferenceExample> = (1..5)
        .flat_map(|i| [row(i, Label::Chosen, 10 + i), row(i, Label::Rejected, 20 + i)])
        .collect();
    let of_others = mismatched(&rows, 16).expect("other prompts");
    let completions = |examples: &[PreferenceExample]| {
        let mut all: Vec<Vec<u32>> =
            prompts_and_completions(examples).into_iter().map(|(_, tokens)| tokens).collect();
        all.sort();
        all
    };
    assert_eq!(completions(&of_others), completions(&rows));
    for (own, other) in rows.iter().zip(&of_others) {
        assert_eq!(own.group.prompt, other.group.prompt);
        let last_digit = other.group.completions[0].tokens[0] % 10;
        assert_ne!(last_digit, own.group.prompt[0], "a completion of the prompt itself");
    }
}

#[test]
fn mismatched_completions_are_cut_to_what_their_prompt_leaves_of_the_context() {
    let cut = completion(&[5; 9]);
    let cut = SampledCompletion { finish_reason: FinishReason::ContextFull, ..cut };
    let one = |prompt: &[u32], completion| {
        PreferenceExample::new(prompt.to_vec(), vec![(Label::Chosen, completion)])
    };
    // A context of 10 tokens; nothing follows EOS, so it may be the 11th.
    let examples = [
        one(&[1; 8], completion(&[3, 0])),
        one(&[2], completion(&[4, 4, 4, 4, 0])),
        one(&[6; 8], completion(&[7, 7, 0])),
        one(&[8], cut),
        one(&[9, 9], completion(&[3, 0])),
    ];
    let of_others = mismatched(&examples, 10).expect("other prompts");
    let found = |i: usize| {
        let completion: &SampledCompletion = &of_others[i].group.completions[0];
        (&completion.tokens[..], completion.finish_reason)
    };
    assert_eq!(found(0), (&[3, 0][..], FinishReason::Stop));
    assert_eq!(found(1), (&[3, 0][..], FinishReason::Stop));
    assert_eq!(found(2), (&[4, 4][..], FinishReason::ContextFull), "without its end");
    assert_eq!(found(3), (&[7, 7, 0][..], FinishReason::Stop));
    // It has no EOS, so its last token is read, too.
    assert_eq!(found(4), (&[5; 8][..], FinishReason::ContextFull));
}

#[test]
fn the_id_of_the_data_depends_on_labels_and_boundaries() {
    let id = |example| examples_sha256([&example].into_iter());
    let ids = [
        id(pair(&[1], &[2, 3], &[4])),
        id(pair(&[1], &[4], &[2, 3])),
        id(pair(&[1, 2], &[3], &[4])),
        id(pair(&[1], &[2], &[3, 4])),
    ];
    let distinct: std::collections::HashSet<_> = ids.iter().collect();
    assert_eq!(distinct.len(), 4, "{ids:?}");
}

/// The texts are those of transformers' `apply_chat_template`, cut as TRL's function of this name
/// cuts them: the prompt is what both conversations begin with.
#[test]
fn completions_are_what_the_chat_template_writes_for_them() -> Result<()> {
    let plain = chat_tokenizer()?;
    let source = "{% for m in messages %}{{ '<' + m.role + '>' }}\
                  {% if m.reasoning_content %}{{ '(' + m.reasoning_content + ')' }}{% endif %}\
                  {{ m.content }}{% for call in m.tool_calls | default([]) %}\
                  {{ 'call ' + call.name }}{% endfor %}{{ eos_token }}{% endfor %}\
                  {% if add_generation_prompt %}{{ '<assistant>OPEN' }}{% endif %}";
    let pair = json!({ "prompt": [{ "role": "user", "content": "v?" }],
        "chosen": [{ "role": "assistant", "content": "yes", "reasoning_content": "hm" }],
        "rejected": [{ "role": "assistant", "content": "", "tool_calls": [{ "name": "f" }] }] });
    let mut pairs = FilteredPreferences::default();
    PreferenceColumns::default().read_row(&pair, &mut pairs)?;
    let rows: Vec<PreferenceRow> = pairs.usable.into_iter().map(PreferenceRow::from).collect();
    for (opening, prompt, completions) in [
        ("", "<user>v?</s><assistant>", ["(hm)yes</s>", "call f</s>"]),
        ("(", "<user>v?</s><assistant>", ["(hm)yes</s>", "call f</s>"]),
    ] {
        let template = ChatTemplate::new(&source.replace("OPEN", opening), &plain.tokenizer)?;
        let stops = plain.stop_token_ids().to_vec();
        let chat_tokenizer = ChatTokenizer::new(plain.tokenizer.clone(), template, stops)?;
        let (examples, counts) = tokenize(&rows, &chat_tokenizer, 100)?;
        assert_eq!(counts.n_dropped(), 0);
        let text = |ids: &[u32]| chat_tokenizer.tokenizer.decode(ids, SkipSpecialTokens::No);
        let group = &examples[0].group;
        assert_eq!(text(&group.prompt)?, prompt);
        let texts = group.completions.iter().map(|completion| text(&completion.tokens));
        assert_eq!(texts.collect::<Result<Vec<_>>>()?, completions);
    }
    Ok(())
}

#[test]
fn kto_reads_labeled_completions_and_pairs_and_wants_both_labels() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("rows.jsonl");
    let (data, dataset) = (path.to_string_lossy().into_owned(), DatasetFlags::default());
    let data = PreferenceFlags { data, dataset, columns: None };
    let good = r#"{"prompt": "a?", "completion": "b", "label": true}"#;
    let bad =
        r#"{"prompt": [{"role": "user", "content": "c?"}], "completion": "d", "label": false}"#;
    std::fs::write(&path, format!("{good}\n{bad}\n"))?;
    let rows = load_all(&data, PreferenceType::Unpaired, 0)?.rows;
    let completions: Vec<_> = rows.iter().flat_map(|row| row.completions.clone()).collect();
    let [chosen, rejected] = ["b", "d"].map(ChatMessage::assistant);
    assert_eq!(completions, [(Label::Chosen, chosen), (Label::Rejected, rejected)]);
    assert_eq!(rows[1].prompt[0].content, "c?");

    std::fs::write(&path, r#"{"prompt": "a?", "chosen": "b", "rejected": "c"}"#)?;
    let rows = load_all(&data, PreferenceType::Unpaired, 0)?.rows;
    assert_eq!(rows, [row("a?", "b", "c")]);

    for (rows, message) in [
        (format!("{good}\n{good}"), "no completion has the label false"),
        (bad.to_string(), "no completion has the label true"),
        (format!("{good}\n{}", bad.replace("false", "\"no\"")), "rows.jsonl:2"),
        (format!("{good}\n{}", bad.replace("\"d\"", "\" \"")), "`completion` is empty"),
    ] {
        std::fs::write(&path, rows)?;
        let error =
            format!("{:#}", load_all(&data, PreferenceType::Unpaired, 0).expect_err(message));
        assert!(error.contains(message), "{error}");
    }
    Ok(())
}
