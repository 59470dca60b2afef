use anyhow::Result;
use candle_core::{DType, Device};
use serde_json::{Value, json};
use tensor_core::{Parameters, json_file};

use super::error;
use crate::LoraConfig;
use crate::peft_folder::{base_model, save};

/// Base model of an adapter with these settings, beside a folder `local`.
fn base_of(name: &str, revision: Value) -> Result<String> {
    let folder = tempfile::tempdir()?;
    std::fs::create_dir(folder.path().join("local"))?;
    let settings = json!({ "base_model_name_or_path": name, "revision": revision });
    json_file::write(&folder.path().join("adapter_config.json"), &settings)?;
    base_model(folder.path())
}

/// As peft's `AutoPeftModelForCausalLM` does.
#[test]
fn the_base_model_of_an_adapter_is_opened_at_its_revision() -> Result<()> {
    for (revision, id) in [
        (json!(null), "owner/name"),
        (json!("main"), "owner/name"),
        (json!("v2"), "owner/name@v2"),
        (json!("refs/pr/3"), "owner/name@refs/pr/3"),
    ] {
        assert_eq!(base_of("owner/name", revision)?, id);
    }
    assert!(base_of("local", json!("main"))?.ends_with("local"));
    for (name, revision, says) in [
        ("local", json!("v2"), "`revision` \"v2\" of the base model, which is the local local:"),
        ("a/missing/path", json!("v2"), "of the base model: `a/missing/path` is neither"),
        ("owner/name@v1", json!("v2"), "`owner/name@v1` already has a revision"),
        ("owner/name", json!("two words"), "`owner/name@two words` is neither"),
        ("owner/name", json!(2), "`revision` is 2; expected a name"),
    ] {
        let message = error(base_of(name, revision));
        assert!(message.contains(says) && !message.contains('\n'), "{message}");
    }
    Ok(())
}

#[test]
fn peft_gets_the_revision_of_the_base_model_as_a_setting_of_its_own() -> Result<()> {
    for (base, name, revision) in [
        ("owner/name@v2", "owner/name", json!("v2")),
        ("owner/name", "owner/name", json!(null)),
        ("runs/sft/model", "runs/sft/model", json!(null)),
    ] {
        let folder = tempfile::tempdir()?;
        let parameters = Parameters::seeded(1, DType::F32, &Device::Cpu);
        save(folder.path(), &parameters, &LoraConfig::new(2), base)?;
        let settings = json_file::read(&folder.path().join("adapter_config.json"))?;
        assert_eq!(settings["base_model_name_or_path"], name);
        assert_eq!(settings["revision"], revision);
        assert_eq!(base_model(folder.path())?, base);
    }
    Ok(())
}
