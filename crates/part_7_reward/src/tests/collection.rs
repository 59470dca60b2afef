//! Collecting: a row per decision that `train` reads, nothing lost, and rules that decide.

use anyhow::Result;
use modern::Message;

use crate::{Collection, Columns, Preference, Rule, Source};

fn decision(question: &str, chosen: &str, rejected: &str) -> Preference {
    let mut it = Preference::new(question, chosen, rejected);
    it.prompt.insert(0, Message::system("Be \"brief\"\n."));
    it
}

#[test]
fn rows_are_read_by_train_as_they_were_decided_and_collecting_goes_on() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("mine.jsonl");
    let (first, second) = (decision("a?", "x", "y"), decision("b?", "m\nn", "y"));
    {
        let mut collection = Collection::open(&path)?;
        assert_eq!((collection.next(), collection.rows()), (0, 0));
        collection.add(3, &first)?;
        let on_disk = std::fs::read_to_string(&path)?;
        assert!(on_disk.ends_with("}\n"), "on the disk before the next question");
        collection.add(7, &second)?;
        collection.add(7, &decision("b?", "z", "m\nn"))?;
    }
    let mut again = Collection::open(&path)?;
    assert_eq!((again.next(), again.rows()), (7, 3));
    assert_eq!(again.decided(7, ["m\nn", "y"]), Some(0));
    assert_eq!(again.decided(7, ["y", "m\nn"]), Some(1));
    assert_eq!(again.decided(7, ["z", "m\nn"]), Some(0));
    assert_eq!(again.decided(7, ["x", "y"]), None, "that was about another question");
    assert_eq!(again.decided(3, ["x", "y"]), None, "earlier questions are not asked again");
    again.add(8, &first)?;
    let read = Source::File(path).all(&Columns::default())?;
    assert_eq!((read.usable.len(), read.dropped.count()), (4, 0));
    assert_eq!((&read.usable[0], &read.usable[1]), (&first, &second));
    Ok(())
}

#[test]
fn half_a_line_of_a_crash_goes_and_whole_rows_stay() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("mine.jsonl");
    Collection::open(&path)?.add(0, &decision("a?", "x", "y"))?;
    let whole = std::fs::read_to_string(&path)?;
    std::fs::write(&path, format!("{whole}{{\"number\": 1, \"pro"))?;
    let mut collection = Collection::open(&path)?;
    assert_eq!((collection.rows(), std::fs::read_to_string(&path)?), (1, whole));
    collection.add(1, &decision("b?", "x", "y"))?;
    assert_eq!(Collection::open(&path)?.rows(), 2);
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
