use anyhow::Result;
use candle_core::DType;
use clap::Parser;
use model_io::GenerationConfig;
use model_io::model_folder::{SpecialTokenIds, save};
use serde_json::{Value, json};

use super::{error, fresh, tiny};
use crate::flags::SamplerFlags;
use crate::sampler::{Sampler, SamplingStrategy};

#[derive(Parser)]
struct Cli {
    #[command(flatten)]
    sampler: SamplerFlags,
}

fn read(json: &Value) -> Result<Option<Sampler>> {
    let folder = tempfile::tempdir()?;
    std::fs::write(folder.path().join("generation_config.json"), json.to_string())?;
    Ok(GenerationConfig::open(folder.path())?.map(Sampler::from))
}

fn sampler(strategy: SamplingStrategy, repetition_penalty: f64) -> Sampler {
    Sampler { strategy, repetition_penalty }
}

#[test]
fn the_sampler_of_a_model_comes_from_its_generation_config() -> Result<()> {
    assert_eq!(read(&json!({ "eos_token_id": 2 }))?, None);
    // As in transformers, generation is greedy without `do_sample`.
    assert_eq!(read(&json!({ "temperature": 0.6 }))?, None);
    assert_eq!(read(&json!({ "do_sample": false }))?, Some(sampler(SamplingStrategy::Greedy, 1.)));
    assert_eq!(
        read(&json!({ "repetition_penalty": 1.1 }))?,
        Some(sampler(SamplingStrategy::Greedy, 1.1))
    );
    // Defaults of transformers.
    let default =
        SamplingStrategy::Random { temperature: 1., top_k: Some(50), top_p: None, min_p: None };
    assert_eq!(read(&json!({ "do_sample": true }))?, Some(sampler(default, 1.)));
    // The file of Qwen2.5-0.5B-Instruct.
    let qwen = json!({
        "do_sample": true, "repetition_penalty": 1.1,
        "temperature": 0.7, "top_p": 0.8, "top_k": 20
    });
    let strategy = SamplingStrategy::Random {
        temperature: 0.7,
        top_k: Some(20),
        top_p: Some(0.8),
        min_p: None,
    };
    assert_eq!(read(&qwen)?, Some(sampler(strategy, 1.1)));
    let all = json!({ "do_sample": true, "top_k": 0, "min_p": 0.1 });
    let strategy =
        SamplingStrategy::Random { temperature: 1., top_k: None, top_p: None, min_p: Some(0.1) };
    assert_eq!(read(&all)?, Some(sampler(strategy, 1.)));
    Ok(())
}

#[test]
fn an_invalid_number_is_named() {
    for (key, value) in
        [("temperature", json!(-1)), ("top_p", json!(0)), ("repetition_penalty", json!(0))]
    {
        let message = error(read(&json!({ "do_sample": true, key: value })));
        assert!(message.contains(&format!("`{key}` is {value}")), "{message}");
    }
    assert!(error(read(&json!({ "do_sample": "yes" }))).contains("`do_sample` is \"yes\""));
    assert!(error(read(&json!({ "top_k": -1 }))).contains("`top_k` is -1"));
}

#[test]
fn a_saved_sampler_is_read_back() -> Result<()> {
    let all = SamplingStrategy::Random { temperature: 0.7, top_k: None, top_p: None, min_p: None };
    let some = SamplingStrategy::Random {
        temperature: 1.,
        top_k: Some(9),
        top_p: Some(0.5),
        min_p: Some(0.1),
    };
    let (_, parameters) = fresh(&tiny(), DType::F32)?;
    let samplers =
        [SamplingStrategy::Greedy, all, some].map(|strategy| Some(sampler(strategy, 1.5)));
    for saved in samplers.into_iter().chain([None]) {
        let folder = tempfile::tempdir()?;
        let config = saved.as_ref().map(GenerationConfig::from);
        save(folder.path(), &tiny(), &parameters, &SpecialTokenIds::default(), config.as_ref())?;
        assert_eq!(GenerationConfig::open(folder.path())?.map(Sampler::from), saved);
    }
    Ok(())
}

#[test]
fn a_flag_overrides_the_sampler_of_the_model() -> Result<()> {
    let flags = |args: &str| {
        let args = std::iter::once("x").chain(args.split_whitespace());
        Ok::<_, clap::Error>(Cli::try_parse_from(args)?.sampler)
    };
    let strategy = SamplingStrategy::Random {
        temperature: 0.7,
        top_k: Some(20),
        top_p: Some(0.8),
        min_p: None,
    };
    let model_sampler = sampler(strategy, 1.1);
    for (args, expected) in [
        ("", model_sampler),
        ("--temperature 0", sampler(SamplingStrategy::Greedy, 1.1)),
        (
            "--top-k 0 --repetition-penalty 1",
            sampler(SamplingStrategy::new(0.7, None, Some(0.8), None), 1.),
        ),
        (
            "--top-p 0.5 --min-p 0.1 --temperature 2",
            sampler(SamplingStrategy::new(2., Some(20), Some(0.5), Some(0.1)), 1.1),
        ),
    ] {
        assert_eq!(flags(args)?.sampler(Some(model_sampler)), expected, "{args}");
        assert_eq!(flags(args)?.chat_sampler(Some(model_sampler)), expected, "{args}");
    }
    // Without a sampler in the model's files, chats are greedy and completions are sampled.
    assert_eq!(flags("")?.chat_sampler(None), Sampler::new(SamplingStrategy::Greedy));
    assert_eq!(
        flags("")?.sampler(None),
        Sampler::new(SamplingStrategy::new(0.8, Some(50), None, None))
    );
    let warmer = Sampler::new(SamplingStrategy::new(0.5, Some(50), None, None));
    assert_eq!(flags("--temperature 0.5")?.chat_sampler(None), warmer);
    Ok(())
}
