//! Split of the run that a model comes from.

use std::fs;
use std::path::Path;

use anyhow::Result;
use datasets::arithmetic_questions::DemonstrationStyle;
use datasets::{DatasetFlags, Preference, SplitRule, SplitSpec};
use serde_json::{Value, json};

use crate::run_split::{GivenSplit, split_of_run};
use crate::{RunSplit, SftSource};

fn write_run(folder: &str, settings: &Value) -> Result<()> {
    let folder = Path::new(folder);
    fs::create_dir_all(folder)?;
    fs::write(folder.join("config.json"), settings.to_string())?;
    fs::write(folder.join("metrics.jsonl"), "")?; // marks the folder of a run
    Ok(())
}

/// 100 rows, each of which is a pair, an example, and a problem.
fn pairs_and_examples() -> String {
    let row = |i: usize| {
        let prompt = format!("{i}?");
        let row = json!({ "prompt": prompt, "completion": "a", "chosen": "a", "rejected": "b" });
        row.to_string() + "\n"
    };
    (0..100).map(row).collect()
}

#[test]
fn the_rows_that_a_model_has_learned_are_those_of_the_first_run_on_the_data() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let path = |name: &str| folder.path().join(name).to_string_lossy().into_owned();
    let (data, other_data) = (path("a.jsonl"), path("b.jsonl"));
    let row = |i: usize| format!("{{\"prompt\": \"{i}?\", \"completion\": \"{i}\"}}\n");
    for file in [&data, &other_data] {
        fs::write(file, (0..100).map(row).collect::<String>())?;
    }
    let sft = json!({ "data": data, "examples": 9, "validation": 0.2, "seed": 4 });
    write_run(&path("sft"), &sft)?;
    let grpo = json!({ "data": data, "model": path("sft/model"), "seed": 5 });
    write_run(&path("grpo"), &grpo)?;
    let ppo = json!({
        "data": data, "examples": 9, "validation": 0.5, "seed": 7, "model": "owner/name",
        "split_rule": SplitRule::of_shares(100, 0.2, 0., 4),
    });
    write_run(&path("ppo"), &ppo)?;

    // A second fine-tuning with a seed of its own: it has learned rows that the first held out.
    let again = json!({ "data": data, "examples": 9, "validation": 0.2, "seed": 8,
        "model": path("sft/model") });
    write_run(&path("again"), &again)?;

    let find = |model: &str, data: &str| {
        RunSplit::find(Some(&path(model)), data, &DatasetFlags::default())
    };
    let source = SftSource::Files(vec![data.clone().into()]);
    let load = |validation, seed| {
        source.load_dataset(None, 1, DemonstrationStyle::Clean, validation, seed)
    };
    let (own, other) = (load(0.2, 4)?, load(0.1, 90)?);
    let of_ppo = ["ppo/model", "ppo/final", "ppo/checkpoints/step-20/policy"];
    for model in ["sft", "sft/model", "grpo", "grpo/adapter"].iter().chain(&of_ppo) {
        let split = find(model, &data)?.expect("a split");
        assert_eq!(split.rule, Some(SplitRule::of_shares(100, 0.2, 0., 4)), "{model}");
        let n_learned = [&own.validation, &own.train].map(|rows| split.n_learned(rows));
        assert_eq!(n_learned, [0, 80], "{model}");
        assert!(split.n_learned(&other.validation) > 0, "most of another split's");
    }
    let split = find("again", &data)?.expect("a split");
    assert_eq!(split.rule, Some(SplitRule::of_shares(100, 0.2, 0., 4)), "that of the first run");
    let of_again = load(0.2, 8)?;
    let learned = own.validation.iter().filter(|row| of_again.train.contains(row)).count();
    assert!(learned > 0 && split.n_learned(&own.validation) == learned);
    assert!(find("sft", &other_data)?.is_none(), "other data");
    assert!(find("sft", "arithmetic")?.is_none(), "generated data");
    assert!(find("nothing", &data)?.is_none(), "no run");
    fs::write(&data, (0..101).map(row).collect::<String>())?;
    assert!(find("ppo", &data)?.is_none(), "the rows have changed since the rule was recorded");
    let rule = SplitRule::of_shares(101, 0.2, 0., 8);
    let later = json!({ "data": data, "examples": 9, "split_rule": rule, "model": path("ppo") });
    write_run(&path("later"), &later)?;
    let split = find("later", &data)?.expect("that of the run on the rows that there are");
    let of_later = load(0.2, 8)?;
    assert_eq!((split.rule, split.n_learned(&of_later.train)), (Some(rule), 81));
    Ok(())
}

#[test]
fn a_new_run_holds_out_what_the_run_of_its_model_did_and_a_resumed_one_what_it_did_before()
-> Result<()> {
    let rule = SplitRule::of_shares(100, 0.2, 0., 4);
    let (of_sft, default) = (SplitSpec::Recorded(rule), SplitSpec::Problems);
    let sft_split = RunSplit { run: "sft".into(), rule: Some(rule), learned: Default::default() };
    let none = GivenSplit::default();
    let given = GivenSplit { validation: Some(0.2), seed: Some(5) };
    let of_given = SplitSpec::Shares { validation: 0.2, seed: 5 };
    assert_eq!(split_of_run(None, none, Some(&sft_split), default)?, of_sft);
    assert_eq!(split_of_run(None, none, None, default)?, default);
    assert_eq!(split_of_run(None, given, Some(&sft_split), default)?, of_given);
    let of_source = RunSplit { rule: None, ..sft_split };
    assert_eq!(split_of_run(None, none, Some(&of_source), default)?, default, "other rows");
    let sft_split = RunSplit { rule: Some(rule), ..of_source };

    let folder = tempfile::tempdir()?;
    let resume = |settings: &Value, given: GivenSplit| -> Result<SplitSpec> {
        write_run(&folder.path().to_string_lossy(), settings)?;
        split_of_run(Some(folder.path()), given, Some(&sft_split), default)
    };
    let own = SplitRule::of_shares(100, 0.3, 0., 6);
    let run = json!({ "seed": 1, "split_rule": own });
    assert_eq!(resume(&run, none)?, SplitSpec::Recorded(own));
    assert_eq!(resume(&run, given)?, SplitSpec::Recorded(own));
    let run = json!({ "seed": 1 });
    assert_eq!(resume(&run, none)?, default, "from before rules were recorded");
    assert_eq!(resume(&run, given)?, of_given);
    let recorded_default = GivenSplit { validation: Some(0.1), seed: None };
    assert_eq!(resume(&run, recorded_default)?, default, "as it was split then");
    Ok(())
}

#[test]
fn a_share_that_is_given_applies_to_the_split_that_a_run_would_have_without_it() -> Result<()> {
    let rule = SplitRule::of_shares(100, 0.2, 0., 4);
    let sft_split = RunSplit { run: "sft".into(), rule: Some(rule), learned: Default::default() };
    let given = GivenSplit { validation: Some(0.3), seed: None };
    let split = |sft_split: Option<&RunSplit>, default: SplitSpec| -> Result<SplitRule> {
        Ok(split_of_run(None, given, sft_split, default)?.rule(100))
    };
    let more = SplitRule { n_validation: 30, ..rule };
    assert_eq!(split(Some(&sft_split), SplitSpec::Problems)?, more);
    let of_problems = SplitRule { n_validation: 30, ..SplitRule::of_problems(100) };
    assert_eq!(split(None, SplitSpec::Problems)?, of_problems);
    let of_part_8 = SplitSpec::Shares { validation: 0.3, seed: 5 };
    assert_eq!(split(None, of_part_8)?, SplitRule::of_shares(100, 0.3, 0., 5));
    Ok(())
}

#[test]
fn runs_of_other_parts_have_learned_rows_but_their_split_is_not_kept_to() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let path = |name: &str| folder.path().join(name).to_string_lossy().into_owned();
    let data = path("a.jsonl");
    fs::write(&data, pairs_and_examples())?;
    let rule = SplitRule::of_shares(100, 0.2, 0., 4);
    let dpo = json!({ "data": data, "pairs": 9, "seed": 4, "split_rule": rule });
    write_run(&path("dpo"), &dpo)?;
    let grpo = json!({ "data": data, "task": "arithmetic", "seed": 5, "model": path("sft") });
    write_run(&path("grpo"), &grpo)?;
    let with_eval_file = json!({ "data": data, "task": "arithmetic", "eval_file": "b.jsonl" });
    write_run(&path("all"), &with_eval_file)?;
    let rows = SftSource::Files(vec![data.clone().into()]).load_eval_examples(None)?;
    for (model, n_learned) in [("dpo/adapter", 80), ("grpo", 90), ("all", 100)] {
        let split = RunSplit::find(Some(&path(model)), &data, &DatasetFlags::default())?;
        let split = split.expect("a run on the data");
        assert_eq!((split.rule, split.n_learned(&rows)), (None, n_learned), "{model}");
    }
    let sft = json!({ "data": data, "examples": 9, "split_rule": rule, "model": path("dpo") });
    write_run(&path("sft"), &sft)?;
    let split = RunSplit::find(Some(&path("grpo")), &data, &DatasetFlags::default())?;
    assert_eq!(split.expect("that of fine-tuning").rule, Some(rule));
    let unreadable = json!({ "question": 1 }).to_string();
    fs::write(&data, (0..100).map(|_| unreadable.clone() + "\n").collect::<String>())?;
    assert!(RunSplit::find(Some(&path("dpo")), &data, &DatasetFlags::default())?.is_none());
    Ok(())
}

#[test]
fn a_run_on_preferences_keeps_to_the_split_of_another_and_not_of_one_on_examples() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let path = |name: &str| folder.path().join(name).to_string_lossy().into_owned();
    let data = path("a.jsonl");
    fs::write(&data, pairs_and_examples())?;
    let rule = |seed: u64| SplitRule::of_shares(100, 0.2, 0.1, seed);
    let sft = json!({ "data": data, "examples": 9, "split_rule": rule(1) });
    let first = json!({ "data": data, "pairs": 9, "split_rule": rule(2), "model": path("sft") });
    let last = json!({ "data": data, "pairs": 9, "split_rule": rule(3), "model": path("first") });
    for (name, settings) in [("sft", sft), ("first", first), ("last", last)] {
        write_run(&path(name), &settings)?;
    }
    let find = |model: &str| {
        RunSplit::find_of_preferences(Some(&path(model)), &data, &DatasetFlags::default())
    };
    let pairs: Vec<Preference> =
        (0..100).map(|i| Preference::new(format!("{i}?"), "a", "b")).collect();
    let split = find("sft")?.expect("a run on the data");
    assert_eq!((split.rule, split.n_learned(&pairs)), (None, 70));
    let split = find("first")?.expect("a run on the pairs");
    assert_eq!(split.rule, Some(rule(2)));
    let (of_first, of_last) = (split.n_learned(&pairs), find("last")?.expect("a run"));
    assert!(70 < of_first && of_first < 100, "that of both runs: {of_first}");
    assert_eq!(of_last.rule, Some(rule(2)), "that of the first run on pairs");
    assert!(of_first < of_last.n_learned(&pairs), "that of all runs");
    Ok(())
}

#[test]
fn of_a_source_that_runs_share_the_rows_that_one_has_learned_are_known() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let path = |name: &str| folder.path().join(name).to_string_lossy().into_owned();
    let (a, b) = (path("a.jsonl"), path("b.jsonl"));
    for (file, name) in [(&a, "a"), (&b, "b")] {
        let row = |i: usize| format!("{{\"prompt\": \"{name} {i}?\", \"completion\": \"{i}\"}}\n");
        fs::write(file, (0..100).map(row).collect::<String>())?;
    }
    let sft = json!({ "data": a, "examples": 9, "validation": 0.2, "seed": 4 });
    write_run(&path("sft"), &sft)?;
    let mixture = format!("{a}=0.5,{b}=0.5");
    let mixed = json!({ "data": mixture, "examples": 9, "validation": 0.2, "seed": 4 });
    write_run(&path("mixed"), &mixed)?;
    let find = |model: &str, data: &str| {
        RunSplit::find(Some(&path(model)), data, &DatasetFlags::default())
    };
    let rows = |file: &str| SftSource::Files(vec![file.into()]).load_eval_examples(None);

    let split = find("sft", &mixture)?.expect("the run has learned rows of a source");
    assert_eq!((split.rule, split.n_learned(&rows(&a)?)), (None, 80));
    assert_eq!(split.n_learned(&rows(&b)?), 0);
    let split = find("mixed", &b)?.expect("the run has learned rows of the file");
    let n_learned = split.n_learned(&rows(&b)?);
    assert!(split.rule.is_none() && 40 < n_learned && n_learned < 100, "{n_learned}");
    assert!(find("mixed", &mixture)?.expect("a split").rule.is_some(), "the same data");

    let later = json!({ "data": b, "examples": 9, "validation": 0.2, "seed": 4,
        "model": path("mixed/model") });
    write_run(&path("later"), &later)?;
    fs::remove_file(&a)?; // the rows of the mixture cannot be read any more
    assert!(find("mixed", &b)?.is_none());
    let split = find("later", &b)?.expect("the split of the run on the file alone");
    assert_eq!((split.rule.is_some(), split.n_learned(&rows(&b)?)), (true, 80));
    assert!(find("mixed", &mixture).is_err(), "the run's own data are needed");
    Ok(())
}
