//! Claims about the two texts themselves: they are read here as a reader would,
//! without looking at how the grammar made them.

use std::collections::HashSet;

use super::super::{SOURCES, grammar::Grammar, stories, text_of};
use super::{real_stories, root};

/// The numbers of a sentence, in digits or as one of `words` (which count from
/// zero). One is left out: "one" is also an article and a pronoun.
fn numbers(sentence: &str, words: &[String]) -> Vec<usize> {
    let mark = |c: char| c.is_whitespace() || ",.!?:;\"।".contains(c);
    let value = |token: &str| {
        let token = token.to_lowercase();
        token.parse().ok().or_else(|| words.iter().position(|word| *word == token))
    };
    sentence.split(mark).filter_map(value).filter(|&number| number != 1).collect()
}

/// How many sums the stories hold; panics at the first wrong one.
fn count_right_sums(index: usize, times: [&str; 3], minus: [&str; 3]) -> usize {
    let source = &SOURCES[index];
    let text = std::fs::read_to_string(root().join(source.grammar)).unwrap();
    let grammar = Grammar::parse(source.grammar, &text).unwrap();
    let rows = &grammar.rule("number").unwrap().rows;
    let words: Vec<String> = rows.iter().map(|(_, row)| row[0][0].plain().to_owned()).collect();
    let mut sums = 0;
    for story in stories(&grammar).unwrap() {
        for sentence in story.split_inclusive(['.', '।', '\n']) {
            let found = numbers(sentence, &words);
            let has = |cues: [&str; 3]| cues.iter().any(|cue| sentence.contains(cue));
            match found[..] {
                [a, b, c] if has(times) => assert_eq!(a * b, c, "{sentence}"),
                [a, b, c] if has(minus) => assert_eq!(a, b + c, "{sentence}"),
                [a, b, c] => assert_eq!(a + b, c, "{sentence}"),
                // Counting up: (1,) 2, 3, 4 and so on.
                [2, 3, 4, ..] => assert!(found.windows(2).all(|w| w[0] + 1 == w[1])),
                // A number of the story, then the sum it belongs to.
                [n, a, b, c] => assert!(a + b == c && (n == b || n == c), "{sentence}"),
                _ => continue,
            }
            sums += 1;
        }
    }
    sums
}

#[test]
fn same_seed_gives_the_same_bytes() {
    for source in &SOURCES {
        assert_eq!(text_of(&root(), source).unwrap(), text_of(&root(), source).unwrap());
    }
}

#[test]
fn no_story_repeats() {
    for index in 0..SOURCES.len() {
        let stories = real_stories(index);
        assert_eq!(stories.iter().collect::<HashSet<_>>().len(), stories.len());
    }
}

#[test]
fn the_english_arithmetic_is_right() {
    let sums = count_right_sums(0, ["times", "rows", "each row"], [" - ", "minus", "left"]);
    assert!(sums > 100, "only {sums} sums");
}

#[test]
fn the_hindi_arithmetic_is_right() {
    let sums = count_right_sums(1, ["गुना", "हर कतार", "कतारें"], [" - ", "बचे", "दे दिए"]);
    assert!(sums > 50, "only {sums} sums");
}

#[test]
fn english_is_ascii_and_sentences_start_with_capitals() {
    for story in real_stories(0) {
        assert!(story.is_ascii(), "{story}");
        let starts: Vec<char> = story.split(". ").filter_map(|s| s.chars().next()).collect();
        assert!(!starts.iter().any(char::is_ascii_lowercase), "{story}");
        // In '"Snow!" he shouted' the sentence goes on after the quotation.
        let cut = ["!\" He ", "!\" She ", "?\" He ", "?\" She "];
        assert!(!cut.iter().any(|wrong| story.contains(wrong)), "{story}");
    }
}

#[test]
fn articles_fit_the_word_after_them() {
    for story in real_stories(0) {
        let words: Vec<&str> = story.split([' ', '\n', '"']).collect();
        for pair in words.windows(2) {
            // "hour" is spelled with a consonant and spoken with a vowel.
            let vowel = pair[1].starts_with(['a', 'e', 'i', 'o', 'u']) || pair[1] == "hour";
            match pair[0] {
                "a" | "A" => assert!(!vowel, "{pair:?}"),
                "an" | "An" => assert!(vowel, "{pair:?}"),
                _ => {}
            }
        }
    }
}

#[test]
fn texts_have_the_promised_sizes() {
    for (source, range) in SOURCES.iter().zip([230_000..280_000, 120_000..200_000]) {
        assert!(range.contains(&text_of(&root(), source).unwrap().len()));
    }
}
