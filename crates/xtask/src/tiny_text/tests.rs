//! Tests of the generator. Those of the two texts are in `tests/texts.rs`.

mod texts;

use std::path::PathBuf;

use super::grammar::Grammar;
use super::{SOURCES, check, generate, stories};

/// A grammar small enough to read in the test that uses it.
const SMALL: &str = "seed 1\nbytes 60\nrule pet\n  cat / owl / dog\n\
    story a\n  let p = pet\n  let q = pet\n  - {A p} met {a q}.\n";

fn root() -> PathBuf {
    crate::root()
}

fn real_stories(index: usize) -> Vec<String> {
    let source = &SOURCES[index];
    let text = std::fs::read_to_string(root().join(source.grammar)).unwrap();
    stories(&Grammar::parse(source.grammar, &text).unwrap()).unwrap()
}

fn error_of(grammar: &str) -> String {
    format!("{:#}", Grammar::parse("g.txt", grammar).err().expect("an error"))
}

#[test]
fn a_different_seed_gives_a_different_text() {
    let generate = |text: &str| stories(&Grammar::parse("g.txt", text).unwrap()).unwrap();
    assert_ne!(generate(SMALL), generate(&SMALL.replace("seed 1", "seed 2")));
}

#[test]
fn two_bindings_of_a_rule_take_different_rows() {
    let stories = stories(&Grammar::parse("g.txt", SMALL).unwrap()).unwrap();
    assert!(stories.iter().all(|story| story.matches("cat").count() < 2), "{stories:?}");
}

#[test]
fn an_unknown_rule_is_reported_with_file_and_line() {
    assert_eq!(error_of(&SMALL.replace("{a q}", "{a bird}")), "g.txt:8: no rule bird");
    assert_eq!(error_of(&SMALL.replace("q = pet", "q = toy")), "g.txt:7: no rule toy");
    assert!(error_of(&SMALL.replace("dog", "{dog}")).starts_with("g.txt:4: no rule dog"));
}

#[test]
fn a_syntax_error_is_reported_with_file_and_line() {
    assert!(error_of(&SMALL.replace("{a q}", "{a q")).starts_with("g.txt:8: "));
    assert!(error_of(&SMALL.replace("{a q}", "{q.his}")).starts_with("g.txt:8: "));
    assert!(error_of(&SMALL.replace("cat", "cat | he")).starts_with("g.txt:4: "));
    assert!(error_of(&SMALL.replace("rule pet", "rool pet")).starts_with("g.txt:3: "));
}

#[test]
fn an_unused_rule_is_an_error() {
    // Parsing fails for a grammar with an unused rule, so both real grammars have none.
    assert_eq!(
        error_of(&SMALL.replace("story a", "rule toy\n  ball\nstory a")),
        "g.txt:5: rule toy is never used"
    );
    (0..SOURCES.len()).for_each(|index| assert!(!real_stories(index).is_empty()));
}

#[test]
fn check_accepts_generated_files_and_rejects_a_changed_byte() {
    let dir = std::env::temp_dir().join(format!("tiny_text_{}", std::process::id()));
    std::fs::create_dir_all(dir.join("data/grammar")).unwrap();
    for source in &SOURCES {
        std::fs::copy(root().join(source.grammar), dir.join(source.grammar)).unwrap();
    }
    generate(&dir).unwrap();
    check(&dir).unwrap();
    let path = dir.join(SOURCES[0].output);
    std::fs::write(&path, std::fs::read_to_string(&path).unwrap().replacen('a', "b", 1)).unwrap();
    assert!(check(&dir).is_err());
    std::fs::remove_dir_all(&dir).unwrap();
}
