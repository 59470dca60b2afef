//! Collecting: a row per decision that `train` reads, nothing lost or asked twice, and rules that decide.

use anyhow::Result;
use modern::ChatMessage;

use crate::annotation_file::Label::{NoPreference, Preferred};
use crate::{AnnotationFile, Preference, PreferenceColumns, PreferenceRule, PreferenceSource};

fn prompt(question: &str) -> Vec<ChatMessage> {
    vec![ChatMessage::system("Be \"brief\"\n."), ChatMessage::user(question)]
}

#[test]
fn rows_are_read_by_train_as_they_were_decided_and_collecting_goes_on() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("mine.jsonl");
    let [a, b, c] = ["a?", "b?", "c?"].map(prompt);
    {
        let mut collection = AnnotationFile::open(&path)?;
        assert!(!collection.is_annotated(&a));
        collection.append_label(&a, ["y", "x"], Preferred(1))?;
        let on_disk = std::fs::read_to_string(&path)?;
        assert!(on_disk.ends_with("}\n"), "on the disk before the next question");
        collection.append_skipped(&b, &["z"])?;
        collection.append_label(&c, ["m\nn", "y"], Preferred(0))?;
        collection.append_label(&c, ["m\nn", "z"], NoPreference)?;
        let error = AnnotationFile::open(&path).expect_err("one writes at a time").to_string();
        assert!(error.contains("another process is collecting into"), "{error}");
    }
    let mut again = AnnotationFile::open(&path)?;
    assert_eq!([&a, &b, &c].map(|prompt| again.is_annotated(prompt)), [true, true, false]);
    assert!(!again.is_annotated(&prompt("d?")), "whatever list a question is from");
    assert_eq!(again.label(&c, ["m\nn", "y"]), Some(Preferred(0)));
    assert_eq!(again.label(&c, ["y", "m\nn"]), Some(Preferred(1)));
    assert_eq!(again.label(&c, ["z", "m\nn"]), Some(NoPreference));
    assert_eq!(again.label(&c, ["x", "y"]), None, "that was about another question");
    again.append_skipped(&prompt("d?"), &[])?;
    assert!(again.is_annotated(&prompt("d?")), "there is nothing to decide");
    assert_eq!(again.n_preferences(), 2);
    let read = PreferenceSource::File(path).load_all(&PreferenceColumns::default())?;
    let [chosen, rejected] = ["x", "y"].map(String::from);
    assert_eq!(read.usable[0], Preference { prompt: a, chosen, rejected });
    assert_eq!(
        (read.usable.len(), read.filter_counts.n_unlabeled, read.filter_counts.total()),
        (2, 3, 3)
    );
    Ok(())
}

#[test]
fn half_a_line_of_a_crash_goes_and_whole_rows_stay() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("mine.jsonl");
    AnnotationFile::open(&path)?.append_label(&prompt("a?"), ["x", "y"], Preferred(0))?;
    let whole = std::fs::read_to_string(&path)?;
    std::fs::write(&path, format!("{whole}{{\"prompt\": [], \"chos"))?;
    let mut collection = AnnotationFile::open(&path)?;
    assert_eq!((collection.n_preferences(), std::fs::read_to_string(&path)?), (1, whole));
    collection.append_label(&prompt("b?"), ["x", "y"], Preferred(0))?;
    drop(collection);
    assert_eq!(AnnotationFile::open(&path)?.n_preferences(), 2);
    Ok(())
}

#[test]
fn a_file_of_something_else_is_left_alone() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("other.jsonl");
    for text in ["{\"prompt\": \"a\"}\n", "words\n"] {
        std::fs::write(&path, text)?;
        let error = format!("{:#}", AnnotationFile::open(&path).expect_err("another kind"));
        assert!(error.contains("other.jsonl:1: "), "{error}");
        assert_eq!(std::fs::read_to_string(&path)?, text);
    }
    Ok(())
}

#[test]
fn rules_decide_or_say_that_they_cannot() {
    assert_eq!(PreferenceRule::Exact.preferred_index(["52", "53"], "53"), Some(1));
    assert_eq!(PreferenceRule::Exact.preferred_index([" 53", "53."], "53"), Some(0));
    assert_eq!(PreferenceRule::Exact.preferred_index(["51", "52"], "53"), None);
    assert_eq!(PreferenceRule::Shorter.preferred_index(["abc", "äö"], ""), Some(1));
    assert_eq!(PreferenceRule::Shorter.preferred_index(["ab", "cd"], ""), None);
}
