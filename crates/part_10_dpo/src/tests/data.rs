//! Labeled completions: tokens, rows that do not fit, KTO's rows and its mismatched completions.

use anyhow::Result;
use datasets::{DatasetFlags, Preference};
use modern::FinishReason;
use reward::flags::PreferenceFlags;

use super::{chat_tokenizer, pair};
use crate::preference_example::{
    Label, PreferenceRow, PreferenceType, examples_sha256, mismatched, tokenize,
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
    Ok(())
}

#[test]
fn mismatched_completions_are_those_of_other_prompts() {
    let examples = [
        pair(&[1], &[2, 0], &[3, 0]),
        pair(&[1], &[4, 0], &[5, 0]), // the same prompt, so its completions would match
        pair(&[9], &[6, 0], &[7, 0]),
    ];
    let mismatched = mismatched(&examples).expect("other prompts");
    let tokens: Vec<_> = mismatched
        .iter()
        .map(|example| (example.group.prompt[0], example.group.completions[0].tokens[0]))
        .collect();
    assert_eq!(tokens, [(1, 6), (1, 6), (9, 2)]);
    assert!(super::super::preference_example::mismatched(&examples[..2]).is_none());
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
    assert_eq!(completions, [(Label::Chosen, "b".into()), (Label::Rejected, "d".into())]);
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
