//! Collecting preferences: rows that `train` reads, resuming after a crash, rule-based labels.

use anyhow::Result;
use datasets::{Preference, PreferenceColumns};
use model_io::ChatMessage;

use crate::annotation_file::Label::{NoPreference, Preferred};
use crate::{AnnotationFile, PreferenceRule, PreferenceSource};

fn prompt(content: &str) -> Vec<ChatMessage> {
    vec![ChatMessage::system("Be \"brief\"\n."), ChatMessage::user(content)]
}

#[test]
fn labels_survive_reopening_and_are_readable_as_training_data() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("mine.jsonl");
    let [a, b, c] = ["a?", "b?", "c?"].map(prompt);
    {
        let mut annotations = AnnotationFile::open(&path)?;
        assert!(!annotations.is_annotated(&a));
        annotations.append_label(&a, ["y", "x"], Preferred(1))?;
        let on_disk = std::fs::read_to_string(&path)?;
        assert!(on_disk.ends_with("}\n"), "the row is on disk before the next pair");
        annotations.append_skipped(&b, &["z"])?;
        annotations.append_label(&c, ["m\nn", "y"], Preferred(0))?;
        annotations.append_label(&c, ["m\nn", "z"], NoPreference)?;
        let error = AnnotationFile::open(&path).expect_err("the file is locked").to_string();
        assert!(error.contains("another process is collecting into"), "{error}");
    }
    let mut reopened = AnnotationFile::open(&path)?;
    assert_eq!([&a, &b, &c].map(|prompt| reopened.is_annotated(prompt)), [true, true, false]);
    assert!(!reopened.is_annotated(&prompt("d?")), "a prompt of another list");
    assert_eq!(reopened.label(&c, ["m\nn", "y"]), Some(Preferred(0)));
    assert_eq!(reopened.label(&c, ["y", "m\nn"]), Some(Preferred(1)));
    assert_eq!(reopened.label(&c, ["z", "m\nn"]), Some(NoPreference));
    assert_eq!(reopened.label(&c, ["x", "y"]), None, "a label of another prompt");
    reopened.append_skipped(&prompt("d?"), &[])?;
    assert!(reopened.is_annotated(&prompt("d?")), "there is nothing to label");
    assert_eq!(reopened.n_preferences(), 2);
    let preferences =
        PreferenceSource::Files(vec![path]).load_eval_preferences(&PreferenceColumns::default())?;
    let [chosen, rejected] = ["x", "y"].map(String::from);
    assert_eq!(preferences.usable[0], Preference { prompt: a, chosen, rejected });
    let counts = preferences.filter_counts;
    assert_eq!((preferences.usable.len(), counts.n_unlabeled, counts.total()), (2, 3, 3));
    Ok(())
}

#[test]
fn an_incomplete_last_line_is_removed_and_complete_rows_are_kept() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("mine.jsonl");
    AnnotationFile::open(&path)?.append_label(&prompt("a?"), ["x", "y"], Preferred(0))?;
    let complete = std::fs::read_to_string(&path)?;
    std::fs::write(&path, format!("{complete}{{\"prompt\": [], \"chos"))?;
    let mut annotations = AnnotationFile::open(&path)?;
    assert_eq!((annotations.n_preferences(), std::fs::read_to_string(&path)?), (1, complete));
    annotations.append_label(&prompt("b?"), ["x", "y"], Preferred(0))?;
    drop(annotations);
    assert_eq!(AnnotationFile::open(&path)?.n_preferences(), 2);
    Ok(())
}

#[test]
fn a_file_of_another_format_is_rejected_and_not_modified() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("other.jsonl");
    for text in ["{\"prompt\": \"a\"}\n", "words\n"] {
        std::fs::write(&path, text)?;
        let error = format!("{:#}", AnnotationFile::open(&path).expect_err("another format"));
        assert!(error.contains("other.jsonl:1: "), "{error}");
        assert_eq!(std::fs::read_to_string(&path)?, text);
    }
    Ok(())
}

#[test]
fn rules_label_a_pair_or_return_no_preference() {
    assert_eq!(PreferenceRule::Exact.preferred_index(["52", "53"], "53"), Some(1));
    assert_eq!(PreferenceRule::Exact.preferred_index([" 53", "53."], "53"), Some(0));
    assert_eq!(PreferenceRule::Exact.preferred_index(["51", "52"], "53"), None);
    assert_eq!(PreferenceRule::Shorter.preferred_index(["abc", "äö"], ""), Some(1));
    assert_eq!(PreferenceRule::Shorter.preferred_index(["ab", "cd"], ""), None);
}
