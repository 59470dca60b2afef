//! Rows that a run held out, by the rule that it recorded, or that of earlier versions.

use std::collections::HashSet;
use std::fs;
use std::path::Path;

use anyhow::Result;
use serde_json::{Value, json};

use crate::held_out::HeldOutRows;
use crate::{DatasetFlags, Example, Mixture, PromptRow, SplitRule, SplitSpec, StoppingStrategy};

/// Path of an empty file `name` in `folder`.
fn file(folder: &Path, name: &str) -> Result<String> {
    let path = folder.join(name);
    fs::write(&path, "")?;
    Ok(path.to_string_lossy().into_owned())
}

fn rows(name: &str, n: usize) -> Vec<Example> {
    (0..n).map(|i| Example::new(format!("{name} {i}"), "a")).collect()
}

fn held_out(
    run: &Value,
    dataset: &DatasetFlags,
    name: &str,
    n: usize,
) -> Result<HeldOutRows<Example>> {
    let run = std::slice::from_ref(run);
    HeldOutRows::new(run, (dataset, name), |_, _| Ok(rows("q", n)), || Ok(rows("q", n)))
}

#[test]
fn the_rows_that_a_run_held_out_follow_from_the_rule_that_it_recorded() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let (name, flags) = (file(folder.path(), "a.jsonl")?, DatasetFlags::default());
    let rule = SplitRule::of_shares(40, 0.2, 0., 7);
    assert_eq!((rule.n_validation, rule.n_test, rule.mixture_seed), (8, 0, 7));
    let validation = rule.hold_out(rows("q", 40))?.validation;
    let run = json!({ "data": name, (SplitRule::SETTING): rule, "seed": 1, "validation": 0.5 });
    assert_eq!(held_out(&run, &flags, &name, 40)?.rows, validation);
    let changed = held_out(&run, &flags, &name, 41)?;
    assert!(changed.rows.len() == 41 && changed.warning.expect("why").contains("changed since"));
    assert_eq!(changed.message, None, "a warning is not a result");
    let other = file(folder.path(), "b.jsonl")?;
    let all = HeldOutRows { rows: rows("q", 40), message: None, warning: None };
    assert_eq!(held_out(&run, &flags, &other, 40)?, all, "the run has not read this file");
    let pretrained = json!({ "data": name, "seed": 1 });
    assert_eq!(held_out(&pretrained, &flags, &name, 40)?, all, "a run on texts has no rows");
    Ok(())
}

#[test]
fn runs_of_earlier_versions_have_the_rules_of_their_parts() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let (name, flags) = (file(folder.path(), "a.jsonl")?, DatasetFlags::default());
    let of_shares = SplitRule::of_shares(40, 0.2, 0., 7);
    let of_problems = SplitRule::of_problems(40);
    assert_eq!((of_problems.n_validation, SplitRule::of_problems(9999).n_validation), (4, 200));
    for (mut run, rule) in [
        (json!({ "validation": 0.2, "seed": 7 }), of_shares),
        (json!({ "validation": 0.2, "seed": 7, "task": "arithmetic", "online": null }), of_shares),
        (json!({ "validation": 0.2, "seed": 7, "task": "gsm8k", "online": "pairs" }), of_problems),
        (json!({ "seed": 7, "task": "gsm8k" }), of_problems),
        (json!({ "validation": 0.2, "seed": 9, "split_seed": 7, "task": "gsm8k" }), of_shares),
    ] {
        run["data"] = json!(name);
        let expected = rule.hold_out(rows("q", 40))?.validation;
        assert_eq!(held_out(&run, &flags, &name, 40)?.rows, expected, "{run}");
    }
    let run = json!({ "data": name, "task": "gsm8k", "eval_file": "b.jsonl" });
    let all = held_out(&run, &flags, &name, 40)?;
    assert!(all.rows.len() == 40 && all.warning.expect("a warning").contains("b.jsonl"));
    Ok(())
}

#[test]
fn a_split_of_shares_of_problems_or_of_an_earlier_run_has_a_rule_once_rows_are_counted() {
    let rule = SplitRule::of_shares(40, 0.2, 0., 7);
    for (spec, expected, mixture_seed) in [
        (SplitSpec::Shares { validation: 0.2, seed: 7 }, rule, 7),
        (SplitSpec::Problems, SplitRule::of_problems(40), SplitRule::PROBLEMS_MIXTURE_SEED),
        (SplitSpec::Recorded(rule), rule, 7),
    ] {
        assert_eq!((spec.rule(40), spec.mixture_seed()), (expected, mixture_seed), "{spec:?}");
    }
    let half = |spec: SplitSpec| spec.with_validation(Some(0.5)).rule(40);
    assert_eq!(half(SplitSpec::Shares { validation: 0.2, seed: 7 }).n_validation, 20);
    let of_problems = SplitRule { n_validation: 20, ..SplitRule::of_problems(40) };
    assert_eq!(half(SplitSpec::Problems), of_problems);
    assert_eq!(half(SplitSpec::Recorded(rule)), SplitRule { n_validation: 20, ..rule });
    assert_eq!(SplitSpec::Recorded(rule).with_validation(None), SplitSpec::Recorded(rule));
    let of_more = SplitSpec::Recorded(rule).rule(41);
    assert_eq!(of_more, SplitRule { n_rows: 41, ..rule }, "the rows that are counted");
}

#[test]
fn the_validation_rows_of_a_smaller_share_are_among_those_of_a_larger_one() -> Result<()> {
    let rule = SplitRule::of_shares(40, 0.2, 0., 7);
    let validation =
        |rule: SplitRule| -> Result<Vec<Example>> { Ok(rule.hold_out(rows("q", 40))?.validation) };
    let of_run = validation(rule)?;
    let (fewer, more) =
        (validation(rule.with_validation(0.1))?, validation(rule.with_validation(0.3))?);
    assert_eq!((fewer.len(), of_run.len(), more.len()), (4, 8, 12));
    assert!(fewer.iter().all(|row| of_run.contains(row)));
    assert!(of_run.iter().all(|row| more.contains(row)));
    Ok(())
}

#[test]
fn a_run_on_preferences_has_split_those_that_it_did_not_filter_out() -> Result<()> {
    let folder = tempfile::tempdir()?;
    // Every fourth pair cannot be learned from: its completions are equal.
    let pair = |i: usize| {
        let rejected = if i.is_multiple_of(4) { "a" } else { "b" };
        let row = json!({ "prompt": format!("q {i}"), "chosen": "a", "rejected": rejected });
        row.to_string() + "\n"
    };
    let path = folder.path().join("pairs.jsonl");
    fs::write(&path, (0..40).map(pair).collect::<String>())?;
    let name = path.to_string_lossy().into_owned();
    let usable: Vec<Example> =
        rows("q", 40).into_iter().enumerate().filter(|(i, _)| i % 4 != 0).map(|(_, r)| r).collect();
    let rule = SplitRule::of_shares(usable.len(), 0.2, 0., 7);
    let trained: HashSet<_> = rule.hold_out(usable)?.train.iter().map(Example::question).collect();
    assert_eq!(trained.len(), 24);
    let run = json!({ "data": name, "pairs": 9, (SplitRule::SETTING): rule, "seed": 7 });
    let held_out = held_out(&run, &DatasetFlags::default(), &name, 40)?;
    assert_eq!(held_out.warning, None, "the file is as it was");
    assert_eq!(held_out.rows.len(), 16, "6 held out, and 10 that it could not learn from");
    assert!(held_out.rows.iter().all(|row| !trained.contains(&row.question())));
    Ok(())
}

#[test]
fn of_a_file_in_a_mixture_the_rows_that_were_not_trained_on_are_held_out() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let (a, b) = (file(folder.path(), "a.jsonl")?, file(folder.path(), "b.jsonl")?);
    let mixture = |seed: u64| {
        let sources = vec![(rows("a", 30), 0.7), (rows("b", 30), 0.3)];
        Mixture { sources, strategy: StoppingStrategy::FirstExhausted }.interleave(seed)
    };
    // The seeds of the mixture and of its split differ, as those of a task's problems do.
    let rule = SplitRule::of_shares(mixture(8).len(), 0.2, 0., 7);
    let rule = SplitRule { mixture_seed: 8, ..rule };
    let run = json!({ "data": format!("{a}=0.7,{b}=0.3"), (SplitRule::SETTING): rule });
    let flags = DatasetFlags::default();
    let load_of_run = |_: &Value, seed: u64| -> Result<Vec<Example>> { Ok(mixture(seed)) };
    let held_out =
        HeldOutRows::new(&[run], (&flags, b.as_str()), load_of_run, || Ok(rows("b", 30)))?;
    let trained: HashSet<_> =
        rule.hold_out(mixture(8))?.train.iter().map(Example::question).collect();
    assert!(held_out.rows.iter().all(|row| !trained.contains(&row.question())));
    let n_trained = rows("b", 30).iter().filter(|row| trained.contains(&row.question())).count();
    assert!(n_trained > 0, "the run has read rows of the file");
    assert_eq!(held_out.rows.len(), 30 - n_trained, "no other row is left out");
    assert!(held_out.message.expect("why").contains(" of 30 rows"));
    Ok(())
}

/// Runs are given as a chain, the latest first, and all of them count.
#[test]
fn the_rows_that_an_earlier_run_was_trained_on_are_not_held_out() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let (a, b) = (file(folder.path(), "a.jsonl")?, file(folder.path(), "b.jsonl")?);
    let flags = DatasetFlags::default();
    let run = |name: &str, validation: f64, seed: u64| {
        let rule = SplitRule::of_shares(40, validation, 0., seed);
        json!({ "data": name, (SplitRule::SETTING): rule, "seed": seed })
    };
    let held_out = |runs: &[Value]| {
        let load_of_run = |run: &Value, _| match run["seed"] == 0 {
            true => anyhow::bail!("no such file"),
            false => Ok(rows("q", 40)),
        };
        HeldOutRows::new(runs, (&flags, a.as_str()), load_of_run, || Ok(rows("q", 40)))
    };
    let of_seed = |seed: u64| -> Result<HashSet<_>> {
        let splits = SplitRule::of_shares(40, 0.5, 0., seed).hold_out(rows("q", 40))?;
        Ok(splits.validation.iter().map(Example::question).collect())
    };
    let questions = |held_out: &HeldOutRows<Example>| -> HashSet<_> {
        held_out.rows.iter().map(Example::question).collect()
    };
    let (first, second) = (run(&a, 0.5, 7), run(&a, 0.5, 8));
    let of_first = held_out(&[run(&b, 0.5, 1), first.clone()])?;
    assert_eq!(questions(&of_first), of_seed(7)?, "the latest run has other data");
    let both = held_out(&[second.clone(), first.clone()])?;
    let of_both: HashSet<_> = of_seed(8)?.intersection(&of_seed(7)?).cloned().collect();
    assert!(!of_both.is_empty() && of_both.len() < 20, "{}", of_both.len());
    assert_eq!(questions(&both), of_both);
    let message = both.message.expect("a message");
    assert!(message.ends_with("rows that an earlier run of the model was not trained on"));
    assert_eq!(held_out(&[first.clone(), first.clone()])?, held_out(std::slice::from_ref(&first))?);

    let mixture = run(&format!("{a}=1,{b}=1"), 0.5, 0);
    let unreadable = held_out(&[second.clone(), mixture.clone()])?;
    assert_eq!(questions(&unreadable), of_seed(8)?);
    assert!(unreadable.warning.expect("a warning").ends_with("not known: no such file"));
    assert_eq!(held_out(std::slice::from_ref(&mixture))?.rows.len(), 40);
    assert!(held_out(&[run(&a, 0.5, 0)]).is_err(), "the run's own data are needed");
    let mut on_all = first;
    on_all["eval_file"] = json!(b);
    let warning = held_out(&[second, on_all])?.warning.expect("a warning");
    assert_eq!(warning, "an earlier run of the model was trained on these rows");
    Ok(())
}

#[test]
fn the_same_data_have_other_spellings() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let file = |name: &str| file(folder.path(), name);
    let (train, test) = (file("train.jsonl")?, file("test.jsonl")?);
    let whole = folder.path().to_string_lossy().into_owned();
    let of_split = |split: &str| DatasetFlags { split: Some(split.into()), ..Default::default() };
    let default = DatasetFlags::default();
    let run = json!({ "data": whole });
    assert!(default.is_data_of(&run, &whole) && of_split("train").is_data_of(&run, &whole));
    assert!(!of_split("test").is_data_of(&run, &whole));
    assert!(of_split("train").shares_files_with(&run, &whole));
    assert!(!of_split("test").shares_files_with(&run, &whole), "another split");
    assert!(default.shares_files_with(&run, &train) && !default.shares_files_with(&run, &test));
    let mixture = json!({ "data": format!("{train}=1,owner/name=2") });
    assert!(default.shares_files_with(&mixture, &train) && !default.is_data_of(&mixture, &train));
    assert!(default.shares_files_with(&mixture, "owner/name"));
    assert!(!of_split("test").shares_files_with(&mixture, "owner/name"));
    assert!(!default.shares_files_with(&json!({ "data": null }), &train), "built-in problems");
    let gsm8k = json!({ "data": "openai/gsm8k" });
    assert!(default.shares_files_with(&gsm8k, "gsm8k"), "a short name");
    Ok(())
}
