//! Collecting preferences: rows that `train` reads, resuming after a crash, rule-based labels.

use anyhow::Result;
use datasets::{Preference, PreferenceColumns};
use model_io::ChatMessage;
use serde_json::json;

use crate::agreement::Agreement;
use crate::annotation_file::Label::{NoPreference, Preferred};
use crate::annotation_file::{Label, LabelDetails, Strength, read_annotations};
use crate::helpfulness::helpfulness_score;
use crate::{AnnotationFile, PreferenceRule, PreferenceSource};

fn prompt(content: &str) -> Vec<ChatMessage> {
    vec![ChatMessage::system("Be \"brief\"\n."), ChatMessage::user(content)]
}

fn details() -> LabelDetails {
    LabelDetails::default()
}

#[test]
fn a_label_keeps_the_tools_of_its_prompt() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("mine.jsonl");
    let mut prompt = prompt("a?");
    let arguments = json!({ "tools": [{ "name": "f" }], "enable_thinking": false });
    let arguments = arguments.as_object().expect("an object").clone();
    ChatMessage::set_template_arguments_of(&mut prompt, arguments.clone());
    AnnotationFile::open(&path)?.append_label(&prompt, ["y", "x"], Preferred(1), details())?;
    let reopened = AnnotationFile::open(&path)?;
    assert_eq!(reopened.label(&prompt, ["x", "y"]), Some(Preferred(0)));
    let pairs =
        PreferenceSource::Files(vec![path]).load_eval_preferences(&PreferenceColumns::default())?;
    assert_eq!(ChatMessage::template_arguments_of(&pairs.usable[0].prompt), arguments);
    Ok(())
}

#[test]
fn labels_survive_reopening_and_are_readable_as_training_data() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("mine.jsonl");
    let [a, b, c] = ["a?", "b?", "c?"].map(prompt);
    {
        let mut annotations = AnnotationFile::open(&path)?;
        assert!(!annotations.is_annotated(&a));
        annotations.append_label(&a, ["y", "x"], Preferred(1), details())?;
        let on_disk = std::fs::read_to_string(&path)?;
        assert!(on_disk.ends_with("}\n"), "the row is on disk before the next pair");
        annotations.append_skipped(&b, &["z"])?;
        annotations.append_label(&c, ["m\nn", "y"], Preferred(0), details())?;
        annotations.append_label(&c, ["m\nn", "z"], NoPreference, details())?;
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
    let [chosen, rejected] = ["x", "y"].map(ChatMessage::assistant);
    assert_eq!(preferences.usable[0], Preference::of_messages(a, chosen, rejected));
    let counts = preferences.filter_counts;
    assert_eq!((preferences.usable.len(), counts.n_unlabeled, counts.total()), (2, 3, 3));
    Ok(())
}

#[test]
fn an_incomplete_last_line_is_removed_and_complete_rows_are_kept() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("mine.jsonl");
    AnnotationFile::open(&path)?.append_label(
        &prompt("a?"),
        ["x", "y"],
        Preferred(0),
        details(),
    )?;
    let complete = std::fs::read_to_string(&path)?;
    std::fs::write(&path, format!("{complete}{{\"prompt\": [], \"chos"))?;
    let mut annotations = AnnotationFile::open(&path)?;
    assert_eq!((annotations.n_preferences(), std::fs::read_to_string(&path)?), (1, complete));
    annotations.append_label(&prompt("b?"), ["x", "y"], Preferred(0), details())?;
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

#[test]
fn people_agree_beyond_chance_by_as_much_as_cohens_kappa_says() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let write = |name: &str, labels: [(usize, Label, Option<Strength>); 4]| {
        let path = folder.path().join(name);
        let mut annotations = AnnotationFile::open(&path)?;
        for (number, label, strength) in labels {
            let details = LabelDetails { strength, ..details() };
            // The second person saw the pairs in the other order.
            let pair = if name == "a.jsonl" { ["x", "y"] } else { ["y", "x"] };
            annotations.append_label(&prompt(&format!("{number}?")), pair, label, details)?;
        }
        annotations.append_skipped(&prompt("alike?"), &["z"])?;
        anyhow::Ok(read_annotations(&path)?)
    };
    let (slightly, significantly) = (Some(Strength::Slightly), Some(Strength::Significantly));
    let ours = write(
        "a.jsonl",
        [
            (1, Preferred(0), slightly),
            (2, Preferred(0), significantly),
            (3, Preferred(1), significantly),
            (4, NoPreference, None),
        ],
    )?;
    assert_eq!(ours.iter().map(|label| label.step).collect::<Vec<_>>(), [1, 2, -2, 0]);
    let theirs = write(
        "b.jsonl",
        [
            (2, Preferred(1), slightly),
            (1, Preferred(1), slightly),
            (3, Preferred(1), significantly),
            (5, NoPreference, None),
        ],
    )?;
    // Pairs 1 to 3: x, x, y against x, x, x. They agree in 2 of 3, as by chance: 2/3 · 1 + 1/3 · 0.
    let [direction, steps] = Agreement::of_annotations(&ours, &theirs).expect("common pairs");
    assert_eq!((direction.n, direction.observed, direction.kappa), (3, 2. / 3., Some(0.)));
    // Steps 1, 2, −2 against 1, 1, 2: one of 3 is the same, by chance (1·2 + 1·1) / 9.
    assert_eq!(steps.observed, 1. / 3.);
    assert!(steps.kappa.is_some_and(|kappa| kappa.abs() < 1e-12));
    let [with_itself, _] = Agreement::of_annotations(&ours, &ours).expect("pairs");
    assert_eq!((with_itself.observed, with_itself.kappa), (1., Some(1.)));
    assert_eq!(Agreement::of_annotations(&ours, &[]), None);
    let alike = Agreement::of_labels(&[(1, 1); 3]).expect("labels");
    assert_eq!((alike.observed, alike.kappa), (1., None), "chance agrees as well");
    Ok(())
}

#[test]
fn the_helpful_rule_counts_what_it_says() {
    let words = |n: usize| vec!["word"; n].join(" ");
    for (text, score) in [
        (words(9), -2),
        (words(10), 0),
        (words(20), 1),
        (words(100), 1),
        (words(101), 0),
        (words(9) + "?", -2 + 2),
        ("Imagine a coin. ".to_string() + &words(10), 2), // addressed, and an analogy
        ("Dislike similarities, thinking. ".to_string() + &words(10), 0), // whole words
        ("Think of it, for example, like a wheel. ".to_string() + &words(10), 1 + 2 + 1),
    ] {
        assert_eq!(helpfulness_score(&text), score, "{text}");
    }
    let pair = ["A coin falls.", "Imagine a coin: which side will it show, and why?"];
    assert_eq!(PreferenceRule::Helpful.preferred_index(pair, ""), Some(1));
    assert_eq!(PreferenceRule::Helpful.preferred_index([pair[0], "A coin."], ""), None, "a tie");
}
