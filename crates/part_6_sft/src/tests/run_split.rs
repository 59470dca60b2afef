//! Split of the run that a model comes from.

use std::fs;
use std::path::Path;

use anyhow::Result;
use datasets::DatasetFlags;
use datasets::arithmetic_questions::DemonstrationStyle;
use serde_json::{Value, json};

use crate::run_split::rule_of_run;
use crate::{RunSplit, SftSource, SplitRule};

fn write_run(folder: &str, settings: &Value) -> Result<()> {
    let folder = Path::new(folder);
    fs::create_dir_all(folder)?;
    fs::write(folder.join("config.json"), settings.to_string())?;
    fs::write(folder.join("metrics.jsonl"), "")?; // marks the folder of a run
    Ok(())
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
        "data": data, "examples": 9, "validation": 0.2, "seed": 7, "split_seed": 4,
        "model": "owner/name",
    });
    write_run(&path("ppo"), &ppo)?;

    let find = |model: &str, data: &str| {
        RunSplit::find(Some(&path(model)), data, &DatasetFlags::default())
    };
    let source = SftSource::Files(vec![data.clone().into()]);
    let load = |validation, seed| {
        source.load_dataset(None, 1, DemonstrationStyle::Clean, validation, seed)
    };
    let (own, other) = (load(0.2, 4)?, load(0.1, 90)?);
    for model in ["sft", "sft/model", "grpo", "grpo/adapter", "ppo/model"] {
        let split = find(model, &data)?.expect(model);
        assert_eq!(split.rule, SplitRule { validation: 0.2, seed: 4 }, "{model}");
        let n_learned = [&own.validation, &own.train].map(|rows| split.n_learned(rows));
        assert_eq!(n_learned, [0, 80], "{model}");
        assert!(split.n_learned(&other.validation) > 0, "most of another split's");
    }
    assert!(find("sft", &other_data)?.is_none(), "other data");
    assert!(find("sft", "arithmetic")?.is_none(), "generated data");
    assert!(find("nothing", &data)?.is_none(), "no run");
    Ok(())
}

#[test]
fn a_new_run_holds_out_what_the_run_of_its_model_did_and_a_resumed_one_what_it_did_before() {
    let rule = SplitRule { validation: 0.2, seed: 4 };
    let sft_split = RunSplit { run: "sft".into(), rule, learned: Default::default() };
    assert_eq!(rule_of_run(None, false, Some(&sft_split)), Some(rule));
    assert_eq!(rule_of_run(None, true, Some(&sft_split)), None, "from before rules were stored");
    assert_eq!(rule_of_run(None, false, None), None);
    let given = Some(SplitRule { seed: 5, ..rule });
    assert_eq!(rule_of_run(given, false, Some(&sft_split)), given);
    assert_eq!(rule_of_run(given, true, None), given);

    let mut settings = json!({ "seed": 1, "validation": null });
    assert_eq!(SplitRule::of_settings(&settings), None);
    rule.store_in(&mut settings);
    assert_eq!(SplitRule::of_settings(&settings), Some(rule));
}
