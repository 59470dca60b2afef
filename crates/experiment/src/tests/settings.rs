//! Settings of several sources, and the flags that clap suggests.

use anyhow::Result;
use clap::{Args, Parser, Subcommand};

use crate::RunFolder;
use crate::settings::expand_config;

#[derive(Debug, Parser)]
struct Cli {
    #[command(subcommand)]
    command: TestCommand,
}

#[derive(Debug, Subcommand)]
enum TestCommand {
    Train(TrainArgs),
}

#[derive(Debug, Args)]
#[command(args_override_self = true)]
struct TrainArgs {
    #[arg(long)]
    steps: Option<usize>,
    #[arg(long, conflicts_with = "steps")]
    epochs: Option<f64>,
    #[arg(long)]
    warmup_steps: Option<usize>,
    #[arg(long, conflicts_with = "warmup_steps")]
    warmup_ratio: Option<f64>,
    #[arg(long, hide = true)]
    gamma: Option<f64>,
    #[arg(long, alias = "sampels")]
    samples: Option<usize>,
    #[arg(long, default_value = "runs/x")]
    out: std::path::PathBuf,
    #[command(flatten)]
    settings: crate::settings::SettingsFlags,
}

fn parse(args: &str) -> Result<TrainArgs> {
    let args = ["test", "train"].into_iter().chain(args.split_whitespace());
    let Cli { command: TestCommand::Train(args) } = crate::command_line::parse(args, &[])?;
    Ok(args)
}

#[test]
fn a_later_source_replaces_the_other_way_to_set_the_same_quantity() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let (file, out) = (folder.path().join("run.yaml"), folder.path().join("run"));
    std::fs::write(&file, "epochs: 3\nwarmup_steps: 10\n")?;
    let file = format!("--config {}", file.display());
    let args = parse(&file)?;
    assert_eq!((args.steps, args.epochs, args.warmup_steps), (None, Some(3.), Some(10)));
    let args = parse(&format!("{file} --steps 2 --set warmup_ratio=0.1"))?;
    assert_eq!((args.steps, args.epochs), (Some(2), None), "the flag wins over the file");
    assert_eq!((args.warmup_steps, args.warmup_ratio), (None, Some(0.1)), "and so does --set");
    let settings = serde_json::json!({ "steps": 38, "epochs": null });
    RunFolder::create(&out, &settings).map(drop)?;
    let resume = format!("--resume --out {}", out.display());
    assert_eq!(parse(&resume)?.steps, Some(38));
    let args = parse(&format!("{resume} --epochs 5"))?;
    assert_eq!((args.steps, args.epochs), (None, Some(5.)), "a resumed run is made longer");
    let other = serde_json::json!({ "steps": 38, "assistant_turns": "all" });
    let other_out = folder.path().join("other");
    RunFolder::create(&other_out, &other).map(drop)?;
    let error = parse(&format!("--resume --out {}", other_out.display())).unwrap_err().to_string();
    assert!(error.contains("a run of another program or version: `assistant_turns`"), "{error}");
    for line in ["--set epochs", "--set resume=true"] {
        let error = parse(line).unwrap_err();
        assert!(error.is::<crate::program::UsageError>(), "the arguments alone decide: {error}");
    }
    let error = parse("--steps 2 --epochs 1").unwrap_err().to_string();
    assert!(error.contains("cannot be used with"), "both in one source: {error}");
    let line = expand_config::<Cli>(["test", "train", "--set", "epochs=null", "--steps", "2"])?;
    assert!(line.iter().any(|flag| flag == "--steps"), "null sets nothing");
    Ok(())
}

#[test]
fn flags_may_have_underscores() -> Result<()> {
    let args = parse("--warmup_ratio=0.5 --out a_b --set max_x=1").map(|args| args.warmup_ratio);
    assert!(args.unwrap_err().to_string().contains("max-x"), "keys of --set are checked as such");
    let args = parse("--warmup_ratio=0.5 --out --a_b=c_d --steps 1");
    assert!(args.is_err(), "a value does not begin with dashes");
    let args = parse("--warmup_ratio 0.5 --out a_b")?;
    assert_eq!((args.warmup_ratio, args.out.to_str()), (Some(0.5), Some("a_b")));
    Ok(())
}

#[test]
fn only_visible_flags_are_suggested() {
    let error = |args: &str| parse(args).unwrap_err().to_string();
    let visible = error("--epoch 1");
    assert!(visible.contains("a similar argument exists: '--epochs'"), "{visible}");
    for hidden in [error("--gama 1"), error("--sampel 1")] {
        assert!(hidden.contains("unexpected argument"), "{hidden}");
        assert!(!hidden.contains("'--gamma'") && !hidden.contains("'--sampels'"), "{hidden}");
    }
}
