//! Claims about all exercises, their files and the runner.

use std::fs;
use std::path::PathBuf;

use candle_core::{DType, Device};
use tensor_core::testing::assert_close;

use crate::course::{self, PARTS};
use crate::grading::{Outcome, Prediction};
use crate::part_1::two_words_back::two_words_back;
use crate::part_ppo::{compute_policy_loss, given};
use crate::runner::{check, work};
use crate::source::{Head, Kind, changed_lines, stub};

#[test]
fn every_solution_passes_and_every_known_mistake_is_refused_and_named() {
    let mut all = Vec::new();
    for entry in course::exercises() {
        all.extend(
            check::faults(entry).into_iter().map(|fault| format!("{}: {fault}", entry.name)),
        );
    }
    assert!(all.is_empty(), "{}", all.join("\n"));
}

#[test]
fn a_stub_is_the_solution_less_its_marked_lines() {
    let source = "//! 1.1 A (fill in, 5 minutes, ●○○)\n//!\n//! Text.\n//!\n//! Hint: a\n//! more\n\
        //! Read: a.rs: b\nfn f() {\n    // SOLUTION: 1 line: add\n    1 + 1\n    // END\n}\n\
        fn g() {\n    // BUG\n    2\n    //| 3\n    // END\n}\n\n// GRADE\nrest\n";
    let expected = "//! 1.1 A (fill in, 5 minutes, ●○○)\n//!\n//! Text.\n\
        fn f() {\n    todo!(\"1 line: add\");\n}\nfn g() {\n    3\n}\n";
    assert_eq!(stub(source), expected);
    assert_eq!(crate::source::solution(source), "fn f() {\n    1 + 1\n}\nfn g() {\n    2\n}\n");
}

#[test]
fn a_section_of_a_text_has_an_anchor_and_code_has_a_line() {
    let locate = |place: &str| {
        let place = crate::source::ReadingPlace::parse(place).unwrap();
        place.locate(&work::root())
    };
    let section = "book/src/01_attention.md: ## Why divide by √D";
    assert_eq!(locate(section).as_deref(), Some("book/src/01_attention.md#why-divide-by-d"));
    let code = locate("crates/part_6_sft/src/lora.rs: pub fn lora_weight").unwrap();
    assert!(code.starts_with("crates/part_6_sft/src/lora.rs:"), "{code}");
    assert_eq!(locate("book/src/01_attention.md: ## Nothing of that name"), None);
}

#[test]
fn a_planted_mistake_is_mended_in_three_lines() {
    for entry in course::exercises().filter(|entry| entry.head().kind == Kind::FindTheBug) {
        let head: String =
            entry.stub().lines().take_while(|line| line.starts_with("//!")).collect();
        let mended = head + &crate::source::solution(entry.source);
        let body = |text: &str| -> String {
            let lines = text.lines().filter(|line| !line.starts_with("//!"));
            lines.map(|line| format!("{line}\n")).collect()
        };
        let changed = changed_lines(&body(&entry.stub()), &body(&mended));
        assert!((1..=3).contains(&changed), "{}: {changed} lines", entry.name);
    }
}

#[test]
fn a_decimal_comma_is_refused_and_a_list_may_have_commas() {
    let half = Prediction::number("?", 0.5, 0.01, "because");
    assert!(half.judge("0.5").is_ok());
    let refused =
        ["0,5", ",5", "-0,519", "7,8", "1,0000", "1234,567", "00,500", "1.5,000", "1/0,5"];
    for typed in refused {
        assert!(half.judge(typed).unwrap_err().contains("a point, as in 0.5"), "{typed}");
    }
    let decimal = Prediction::number("?", 1.735, 0., "because").trap(1736., "a trap");
    assert!(decimal.judge("1,735").unwrap_err().contains("a point, as in 0.5"));
    assert_eq!(decimal.judge("1,736").unwrap_err(), "no: a trap", "as a decimal it is wrong, too");
    assert_eq!(Prediction::number("?", 1735., 0., "because").judge("1,735").unwrap(), "because");
    assert!(Prediction::number("?", 0.003, 0., "because").judge("3/1,000").is_ok());
    let many = Prediction::number("?", -1_234_567.5, 0., "because");
    for typed in ["-1,234,567.5", "−1234567.5", "-1_234_567.5"] {
        assert!(many.judge(typed).is_ok(), "{typed}");
    }
    let list = Prediction::number("?", 35., 0., "because").list();
    for typed in ["35", "3,5", "3, 5"] {
        assert!(list.judge(typed).is_ok(), "{typed}");
    }
}

#[test]
fn two_mistakes_in_separate_cases_are_both_named() {
    let verdict = compute_policy_loss::GRADE.judge(|new, old, advantages, mask, clip| {
        let right = compute_policy_loss::compute_policy_loss(new, old, advantages, mask, clip)?;
        let [_, outside, kl] = right;
        let ratio = (new - old)?.exp()?; // not clamped
        let bounded = (ratio.clamp(1. - clip, 1. + clip)? * advantages)?;
        let loss = (ratio * advantages)?.minimum(&bounded)?.neg()?;
        let loss = given::masked_mean(&loss, Some(mask), None)?;
        Ok([loss, outside, kl.neg()?])
    });
    assert_eq!(verdict.outcome, Outcome::Wrong);
    let named: Vec<_> =
        verdict.lines.iter().filter(|line| line.contains("known mistake")).collect();
    let [sign, clamp] = named[..] else { panic!("{verdict:?}") };
    assert!(sign.contains("the KL has its sign turned") && clamp.contains("not clamped"));
}

#[test]
fn numbers_and_names_are_unique_and_gates_and_demos_exist() {
    let mut seen = std::collections::BTreeSet::new();
    for entry in course::exercises() {
        assert!(seen.insert(entry.name), "{} twice", entry.name);
        assert!(seen.insert(entry.head().number), "{} twice", entry.head().number);
    }
    for part in PARTS {
        for name in part.gates.iter().chain(part.demo) {
            let entry = course::find(name).unwrap_or_else(|| panic!("{name} is no exercise"));
            assert_eq!(entry.head().part(), part.number, "{name}");
        }
    }
}

#[test]
fn the_rotation_of_two_words_takes_each_position_to_the_second_before_it() {
    let positions = attention::sinusoidal_positions(40, 16, DType::F64, &Device::Cpu).unwrap();
    let moved = positions.matmul(&two_words_back(16).unwrap()).unwrap();
    let (moved, earlier) = (moved.narrow(0, 2, 38).unwrap(), positions.narrow(0, 0, 38).unwrap());
    assert_close(&moved, &earlier, 1e-12);
}

#[test]
fn demos_run_on_the_courses_functions() {
    use crate::{part_1, part_3, part_6, part_7, part_8, part_9, part_10};
    part_1::demo::run(part_1::one_head::one_head, two_words_back, part_1::induction::induction)
        .unwrap();
    part_3::demo::run(part_3::rotate::rotate, part_3::online_softmax::online_softmax).unwrap();
    part_6::demo::run(part_6::labels_by_place::labels_by_place, part_6::token_f1::token_f1)
        .unwrap();
    part_7::demo::run(part_7::bradley_terry::bradley_terry, part_7::is_it_sure::is_it_sure)
        .unwrap();
    part_8::demo::run(
        part_8::gae_backwards::gae_backwards,
        part_8::ratios_that_run_away::ratios_that_run_away,
    )
    .unwrap();
    part_9::demo::run(part_9::five_baselines::five_baselines, part_9::pass_at_k::pass_at_k)
        .unwrap();
    part_10::demo::run(part_10::implicit_reward::implicit_reward, part_10::dpo_loss::dpo_loss)
        .unwrap();
}

#[test]
fn the_readme_of_a_part_lists_its_exercises() {
    for entry in course::exercises() {
        let head = entry.head();
        let part = if head.part() == "ppo" { "8" } else { head.part() };
        let path = match part {
            "0" | "11" | "12" => work::root().join("exercises/README.md"),
            _ => crate_of(part).join("README.md"),
        };
        let Head { number, title, kind, minutes, difficulty, .. } = head;
        let row = format!("| {number} | {title} | {kind} | {minutes} | {difficulty} |");
        assert!(fs::read_to_string(&path).unwrap().contains(&row), "{}: {row}", path.display());
    }
}

#[test]
fn the_counts_of_the_readme_are_right() {
    let readme = fs::read_to_string(work::root().join("exercises/README.md")).unwrap();
    let readme = readme.replace('\n', " ");
    let n = |kind| course::exercises().filter(|entry| entry.head().kind == kind).count();
    let expected = [
        format!("Of the {} exercises, {} are", course::exercises().count(), n(Kind::FillIn)),
        format!("{} are to *predict*", n(Kind::Predict)),
        format!("In {} you *find the bug*", n(Kind::FindTheBug)),
        format!("{} *measure*", n(Kind::Measure)),
        format!("{} *probe*", n(Kind::Probe)),
    ];
    for piece in expected {
        assert!(readme.contains(&piece), "{piece}");
    }
}

fn crate_of(part: &str) -> PathBuf {
    let crates = fs::read_dir(work::root().join("crates")).unwrap();
    let mut crates = crates.map(|entry| entry.unwrap().path());
    let of_part = |path: &PathBuf| path.to_string_lossy().contains(&format!("part_{part}_"));
    crates.find(of_part).unwrap()
}
