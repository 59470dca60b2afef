//! Files of a split among those of a folder or of a data set of the Hub.

use std::fs;

use anyhow::Result;

use crate::DatasetFlags;

fn flags(config: Option<&str>, split: Option<&str>) -> DatasetFlags {
    DatasetFlags {
        dataset_config: config.map(Into::into),
        split: split.map(Into::into),
        ..DatasetFlags::default()
    }
}

fn select(names: &[&str], config: Option<&str>, split: Option<&str>) -> Result<String> {
    Ok(flags(config, split).select(names)?.join(" "))
}

/// Names of files of well-known data sets.
#[test]
fn the_files_of_a_split_follow_from_their_names() -> Result<()> {
    let ultrachat = [
        "README.md",
        "data/test_sft-00000-of-00001.parquet",
        "data/train_sft-00001-of-00002.parquet",
        "data/train_sft-00000-of-00002.parquet",
    ];
    let expected = "data/train_sft-00000-of-00002.parquet data/train_sft-00001-of-00002.parquet";
    assert_eq!(select(&ultrachat, None, Some("train_sft"))?, expected);
    let gsm8k = [
        "main/test-00000-of-00001.parquet",
        "main/train-00000-of-00001.parquet",
        "socratic/train-00000-of-00001.parquet",
    ];
    assert_eq!(select(&gsm8k, Some("main"), Some("test"))?, gsm8k[0]);
    let hh = ["harmless-base/test.jsonl.gz", "harmless-base/train.jsonl.gz", "a/train.jsonl.gz"];
    assert_eq!(select(&hh, Some("harmless-base"), None)?, hh[1]);
    let converted = [
        "default/test/0000.parquet",
        "default/train/0000.parquet",
        "default/train/0001.parquet",
        "other/train/0000.parquet",
        "other/partial-test/0000.parquet",
    ];
    assert_eq!(select(&converted, None, None)?, converted[1..3].join(" "), "the default one");
    assert_eq!(select(&["alpaca.json", "dataset_infos.json"], None, None)?, "alpaca.json");
    assert_eq!(select(&["a/b.jsonl", "a/Dev-2.jsonl"], None, Some("validation"))?, "a/Dev-2.jsonl");
    assert_eq!(
        select(&["test/b.json", "test/a.json"], None, Some("test"))?,
        "test/a.json test/b.json"
    );
    assert_eq!(select(&["train.json", "x/train.parquet"], None, None)?, "x/train.parquet");
    Ok(())
}

#[test]
fn what_cannot_be_selected_is_named_with_what_can() {
    for (names, config, split, message) in [
        (&["m/train.json", "s/test.json"][..], None, None, "by --dataset-config: m, s"),
        (&["m/train.json", "s/test.json"], Some("x"), None, "by --dataset-config: m, s"),
        (
            &["dev.json", "test.json"],
            None,
            None,
            "has no split `train`: choose one of its splits by --split: test, validation",
        ),
        (&["README.md", "a.csv"], None, None, "no files of rows (.parquet, "),
        (&["train-00001-of-00002.json"], None, None, "split `train` are missing beside train-0"),
        (&["d/train/0001.parquet"], None, None, "split `train` are missing beside d/train/0"),
        (&["d/partial-train/0000.parquet"], None, None, "no files of rows"),
    ] {
        let error = format!("{:#}", select(names, config, split).unwrap_err());
        assert!(error.contains(message), "{error} lacks {message}");
    }
}

#[test]
fn a_folder_is_read_like_a_data_set_of_the_hub_and_a_file_has_no_splits() -> Result<()> {
    let folder = tempfile::tempdir()?;
    for name in ["main/train-00000-of-00001.jsonl", "main/test-00000-of-00001.jsonl", "note.txt"] {
        let path = folder.path().join(name);
        fs::create_dir_all(path.parent().expect("a folder"))?;
        fs::write(path, "")?;
    }
    let name = folder.path().to_string_lossy();
    let paths = flags(None, Some("test")).locate(&name)?;
    assert_eq!(paths, [folder.path().join("main/test-00000-of-00001.jsonl")]);
    let error = format!("{:#}", flags(None, Some("x")).locate(&name).unwrap_err());
    assert!(error.contains("cannot be used: it has no split `x`"), "{error}");
    let error = flags(None, Some("test")).locate("a.jsonl").unwrap_err().to_string();
    assert!(error.contains("--data a.jsonl is neither"), "{error}");
    assert_eq!(flags(None, None).for_evaluation(&name, None), flags(None, Some("test")));
    assert_eq!(flags(Some("m"), None).for_evaluation("a.jsonl", None), flags(None, None));
    assert_eq!(flags(None, None).for_evaluation("gsm8k", None), flags(None, Some("test")));
    Ok(())
}
