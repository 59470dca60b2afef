//! 7.1 Preference data: splits of a file.

use std::collections::HashSet;

use anyhow::Result;
use clap::{Args, FromArgMatches};
use datasets::{Mixture, Preference, PreferenceColumns, StoppingStrategy};
use model_io::ModelConfig;
use model_io::config::PositionEncoding;

use crate::PreferenceSource;
use crate::command::arguments::TrainArgs;

#[test]
fn splits_of_a_file_are_disjoint_and_of_the_requested_sizes() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("a.jsonl");
    let row =
        |i: usize| format!("{{\"prompt\": \"{i}\", \"chosen\": \"b\", \"rejected\": \"c\"}}\n");
    std::fs::write(&path, (0..50).map(row).collect::<String>())?;
    let source = PreferenceSource::Files(vec![path]);
    let split = source.load_dataset(&PreferenceColumns::default(), 0, 0.2, 0.1, 4)?;
    assert_eq!((split.train.len(), split.validation.len(), split.test.len()), (35, 10, 5));
    let all = [&split.train[..], &split.validation, &split.test].concat();
    let distinct: HashSet<&String> = all.iter().map(|pair| &pair.prompt[0].content).collect();
    assert_eq!(distinct.len(), 50);
    let without_test = source.load_dataset(&PreferenceColumns::default(), 0, 0.2, 0., 4)?;
    assert_eq!(without_test.validation, split.validation, "--test must not change validation");
    assert!(without_test.test.is_empty());
    assert!(source.load_dataset(&PreferenceColumns::default(), 0, 0.9, 0.1, 4).is_err());
    Ok(())
}

#[test]
fn pairs_of_a_held_out_prompt_are_not_trained_on() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("a.jsonl");
    // Three pairs of each of ten prompts.
    let row = |i: usize| {
        format!("{{\"prompt\": \"{}\", \"chosen\": \"b\", \"rejected\": \"c{i}\"}}\n", i % 10)
    };
    std::fs::write(&path, (0..30).map(row).collect::<String>())?;
    let source = PreferenceSource::Files(vec![path.clone()]);
    let split = source.load_dataset(&PreferenceColumns::default(), 0, 0.1, 0.1, 4)?;
    assert_eq!((split.validation.len(), split.test.len()), (3, 3));
    let held_out = [&split.validation[..], &split.test].concat();
    let is_held_out = |pair: &Preference| held_out.iter().any(|other| other.prompt == pair.prompt);
    assert_eq!(split.train.len(), 24);
    assert!(!split.train.iter().any(is_held_out));
    Ok(())
}

#[test]
fn a_mixture_has_the_filter_counts_of_its_sources() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let source = |name: &str, n: usize| -> Result<(PreferenceSource, f64)> {
        let path = folder.path().join(name);
        let row = |i: usize| {
            format!("{{\"prompt\": \"{name}{i}\", \"chosen\": \"b\", \"rejected\": \"c\"}}\n")
        };
        let identical = "{\"prompt\": \"a\", \"chosen\": \"b\", \"rejected\": \"b\"}\n";
        std::fs::write(&path, (0..n).map(row).collect::<String>() + identical)?;
        Ok((PreferenceSource::Files(vec![path]), 1.))
    };
    let strategy = StoppingStrategy::AllExhausted;
    let sources = vec![source("a", 10)?, source("b", 100)?];
    let mixture = PreferenceSource::Mixture(Mixture { sources, strategy });
    let all = mixture.load_eval_preferences(&PreferenceColumns::default())?;
    assert_eq!((all.usable.len(), all.filter_counts.n_identical), (110, 2));
    let split = mixture.load_dataset(&PreferenceColumns::default(), 0, 0.1, 0., 4)?;
    let pairs = [&split.train[..], &split.validation].concat();
    assert_eq!(split.filter_counts.n_identical, 2);
    let n_a = pairs.iter().filter(|pair| pair.prompt[0].content.starts_with('a')).count();
    assert!(pairs.len() - n_a == 100 && (70..130).contains(&n_a), "{n_a} of the shorter source");
    Ok(())
}

#[test]
fn texts_are_truncated_also_for_a_model_of_learned_positions_which_keeps_its_context() -> Result<()>
{
    let command = TrainArgs::augment_args(clap::Command::new("train"));
    let args =
        TrainArgs::from_arg_matches(&command.get_matches_from(["train", "--max-length", "8"]))?;
    let mut config = ModelConfig::byte_level(16, 1, 2, 16);
    assert_eq!(args.backbone_config(&config)?.context_len, 8);
    config.attention.position = PositionEncoding::Learned { offset: 0 };
    assert_eq!(args.backbone_config(&config)?.context_len, 16);
    config.context_len = 4;
    let error = args.backbone_config(&config).unwrap_err().to_string();
    assert!(error.contains("context is 4 tokens"), "{error}");
    Ok(())
}
