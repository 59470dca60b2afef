//! Collecting: a row per decision that `train` reads, nothing lost or asked twice, and rules that decide.

use anyhow::Result;
use modern::Message;

use crate::collection::Verdict::{Better, Neither};
use crate::{Collection, Columns, Preference, Rule, Source};

fn prompt(question: &str) -> Vec<Message> {
    vec![Message::system("Be \"brief\"\n."), Message::user(question)]
}

#[test]
fn rows_are_read_by_train_as_they_were_decided_and_collecting_goes_on() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("mine.jsonl");
    let [a, b, c] = ["a?", "b?", "c?"].map(prompt);
    {
        let mut collection = Collection::open(&path)?;
        assert!(!collection.is_done(&a));
        collection.add(&a, ["y", "x"], Better(1))?;
        let on_disk = std::fs::read_to_string(&path)?;
        assert!(on_disk.ends_with("}\n"), "on the disk before the next question");
        collection.skip(&b, &["z"])?;
        collection.add(&c, ["m\nn", "y"], Better(0))?;
        collection.add(&c, ["m\nn", "z"], Neither)?;
        let error = Collection::open(&path).expect_err("one writes at a time").to_string();
        assert!(error.contains("another process is collecting into"), "{error}");
    }
    let mut again = Collection::open(&path)?;
    assert_eq!([&a, &b, &c].map(|prompt| again.is_done(prompt)), [true, true, false]);
    assert!(!again.is_done(&prompt("d?")), "whatever list a question is from");
    assert_eq!(again.verdict(&c, ["m\nn", "y"]), Some(Better(0)));
    assert_eq!(again.verdict(&c, ["y", "m\nn"]), Some(Better(1)));
    assert_eq!(again.verdict(&c, ["z", "m\nn"]), Some(Neither));
    assert_eq!(again.verdict(&c, ["x", "y"]), None, "that was about another question");
    again.skip(&prompt("d?"), &[])?;
    assert!(again.is_done(&prompt("d?")), "there is nothing to decide");
    assert_eq!(again.decided(), 2);
    let read = Source::File(path).all(&Columns::default())?;
    let [chosen, rejected] = ["x", "y"].map(String::from);
    assert_eq!(read.usable[0], Preference { prompt: a, chosen, rejected });
    assert_eq!((read.usable.len(), read.dropped.undecided, read.dropped.count()), (2, 3, 3));
    Ok(())
}

#[test]
fn half_a_line_of_a_crash_goes_and_whole_rows_stay() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("mine.jsonl");
    Collection::open(&path)?.add(&prompt("a?"), ["x", "y"], Better(0))?;
    let whole = std::fs::read_to_string(&path)?;
    std::fs::write(&path, format!("{whole}{{\"prompt\": [], \"chos"))?;
    let mut collection = Collection::open(&path)?;
    assert_eq!((collection.decided(), std::fs::read_to_string(&path)?), (1, whole));
    collection.add(&prompt("b?"), ["x", "y"], Better(0))?;
    drop(collection);
    assert_eq!(Collection::open(&path)?.decided(), 2);
    Ok(())
}

#[test]
fn a_file_of_something_else_is_left_alone() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("other.jsonl");
    for text in ["{\"prompt\": \"a\"}\n", "words\n"] {
        std::fs::write(&path, text)?;
        let error = format!("{:#}", Collection::open(&path).expect_err("another kind"));
        assert!(error.contains("other.jsonl:1: "), "{error}");
        assert_eq!(std::fs::read_to_string(&path)?, text);
    }
    Ok(())
}

#[test]
fn rules_decide_or_say_that_they_cannot() {
    assert_eq!(Rule::Exact.better(["52", "53"], "53"), Some(1));
    assert_eq!(Rule::Exact.better([" 53", "53."], "53"), Some(0));
    assert_eq!(Rule::Exact.better(["51", "52"], "53"), None);
    assert_eq!(Rule::Shorter.better(["abc", "äö"], ""), Some(1));
    assert_eq!(Rule::Shorter.better(["ab", "cd"], ""), None);
}
