//! Sources of settings: a YAML file with the files that it inherits from, and `KEY=VALUE` pairs.
//!
//! ```text
//! defaults: [base.yaml]            settings of other files, which those of this file override
//! model: {name: runs/sft}          a section; the key is `model.name`
//! out: runs/ppo_${training.seed}   the value of another setting, whichever source or flag has it
//! ```

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, anyhow, bail, ensure};
use serde_json::{Map, Value};
use serde_saphyr::NonFiniteFloatPolicy;
use tensor_core::regular_file;

/// Limit of a settings file's length.
const MAX_FILE_BYTES: u64 = 1 << 24;
/// Limit of the files that a settings file inherits from, each as often as it is listed: of files
/// that list the next one twice, thirty make a billion.
const MAX_FILES: usize = 100;
/// Limits of the references that a value leads to and of the text that they make, which values
/// that refer to another one twice multiply in the same way.
const MAX_REFERENCES: usize = 1000;
const MAX_TEXT_BYTES: usize = 1 << 20;

/// Source of settings.
#[derive(Debug)]
pub(super) struct Source {
    /// The file's name, or the pair.
    pub(super) name: String,
    /// Whether it is a pair, not a file.
    pub(super) is_pair: bool,
    /// Values by key, `section.key` in a section.
    pub(super) values: Map<String, Value>,
}

impl Source {
    /// The YAML file `path`, after the files that it inherits from, in the order in which later
    /// settings win.
    ///
    /// # Errors
    /// When a file cannot be read, is not a list of settings, or inherits from itself.
    pub(super) fn read_files(path: &Path) -> Result<Vec<Self>> {
        let mut sources = Vec::new();
        read_after_defaults(path, &mut Vec::new(), &mut sources)?;
        Ok(sources)
    }

    /// The setting `KEY=VALUE`.
    ///
    /// # Errors
    /// When there is no `=`.
    pub(super) fn from_pair(pair: &str) -> Result<Self> {
        let (key, value) = pair
            .split_once('=')
            .with_context(|| format!("--set {pair}: expected KEY=VALUE, for example n_layer=6"))?;
        let value = match serde_json::from_str(value) {
            // A number stays as it is written: `run_name=1e5` is not 100000.0.
            Err(_) | Ok(Value::Number(_)) => value.into(),
            Ok(value) => value,
        };
        let mut values = Map::new();
        insert(&mut values, key.to_string(), value);
        Ok(Self { name: pair.to_string(), is_pair: true, values })
    }
}

/// Adds the file `path` to `sources`, after its defaults. `heirs` are the files that inherit from
/// it.
fn read_after_defaults(
    path: &Path,
    heirs: &mut Vec<PathBuf>,
    sources: &mut Vec<Source>,
) -> Result<()> {
    let name = path.display().to_string();
    ensure!(sources.len() + heirs.len() < MAX_FILES, "`defaults` list more than {MAX_FILES} files");
    let text = regular_file::read_to_string(path, MAX_FILE_BYTES)?;
    let file = path.canonicalize().with_context(|| format!("reading {name}"))?;
    if let Some(first) = heirs.iter().position(|heir| *heir == file) {
        let circle = heirs[first..].iter().chain([&file]);
        let circle: Vec<String> = circle.map(|file| file.display().to_string()).collect();
        bail!("`defaults` go round in a circle: {}", circle.join(" → "));
    }
    // As text, so that the error is that of the flag, which is named in it.
    let options =
        serde_saphyr::options! { non_finite_float_policy: NonFiniteFloatPolicy::AsString };
    let mut parsed: Map<String, Value> = serde_saphyr::from_str_with_options(&text, options)
        .map_err(|error| anyhow!("{}", error.to_string().lines().next().unwrap_or_default()))
        .with_context(|| format!("{name} is not a YAML file of settings"))?;
    parsed.remove(SPLIT_RULE);
    let mut values = Map::new();
    for (key, value) in parsed {
        insert(&mut values, key, value);
    }
    let defaults = match values.remove("defaults") {
        None | Some(Value::Null) => Vec::new(),
        Some(Value::Array(names)) => names,
        Some(name) => vec![name],
    };
    heirs.push(file);
    for default in defaults {
        let default = default.as_str().with_context(|| {
            format!("{name}: `defaults` must list YAML files, for example [base.yaml]")
        })?;
        // As in the PPO tutorial, a path may also start at the working folder.
        let beside = path.with_file_name(default);
        let default = if beside.exists() { beside } else { default.into() };
        read_after_defaults(&default, heirs, sources)
            .with_context(|| format!("`defaults` of {name}"))?;
    }
    heirs.pop();
    sources.push(Source { name, is_pair: false, values });
    Ok(())
}

/// Inserts `value`, the keys of a section as `key.name`.
fn insert(values: &mut Map<String, Value>, key: String, value: Value) {
    match value {
        Value::Object(section) => {
            for (name, value) in section {
                insert(values, format!("{key}.{name}"), value);
            }
        }
        value => drop(values.insert(key, value)),
    }
}

/// `value` with each `${key}` in it replaced by what `value_of` says of that key; `\${` stands for
/// the characters `${`. A text that is nothing but `${key}` becomes that value, of its type.
/// `within` are the keys whose values are being replaced.
///
/// # Errors
/// When there is no such key, keys refer to each other in a circle, or the result is too long.
pub(super) fn interpolated(
    value: &Value,
    value_of: &dyn Fn(&str) -> Option<Value>,
    within: &[&str],
) -> Result<Value> {
    interpolated_within_limits(value, value_of, within, &mut 0)
}

/// [`interpolated`] after `n_references`, which it counts on.
fn interpolated_within_limits(
    value: &Value,
    value_of: &dyn Fn(&str) -> Option<Value>,
    within: &[&str],
    n_references: &mut usize,
) -> Result<Value> {
    let Value::String(text) = value else { return Ok(value.clone()) };
    let mut result = String::new();
    let mut rest = text.as_str();
    while let Some((before, after)) = rest.split_once("${") {
        if let Some(before) = before.strip_suffix('\\') {
            result.extend([before, "${"]);
            rest = after;
            continue;
        }
        let (key, after) =
            after.split_once('}').with_context(|| format!("`{text}` lacks a closing brace"))?;
        if let Some(first) = within.iter().position(|outer| *outer == key) {
            let circle: Vec<String> =
                within[first..].iter().chain([&key]).map(|key| format!("${{{key}}}")).collect();
            bail!("settings refer to each other in a circle: {}", circle.join(" → "));
        }
        *n_references += 1;
        ensure!(*n_references <= MAX_REFERENCES, "it has more than {MAX_REFERENCES} references");
        let value = value_of(key).with_context(|| {
            format!("`{text}`: there is no setting `{key}` (`\\${{` stands for the characters)")
        })?;
        let within = [within, &[key]].concat();
        let value = interpolated_within_limits(&value, value_of, &within, n_references)?;
        if before.is_empty() && after.is_empty() && rest.len() == text.len() {
            return Ok(value);
        }
        ensure!(!value.is_array(), "`{text}`: `{key}` is a list");
        result.push_str(before);
        match value {
            Value::String(text) => result.push_str(&text),
            value => result.push_str(&value.to_string()),
        }
        ensure!(result.len() <= MAX_TEXT_BYTES, "its text has more than {MAX_TEXT_BYTES} bytes");
        rest = after;
    }
    result.push_str(rest);
    Ok(result.into())
}

/// Flags that hold for one start of a run and are not taken over by `--resume`.
pub(super) const TRANSIENT: [&str; 2] = ["stop_after", "json"];

/// Setting that a run records beside its flags: the rule by which it split its rows. It is no
/// setting of a file, and a resumed run reads it by itself.
pub(super) const SPLIT_RULE: &str = "split_rule";

/// YAML file that [`Source::read_files`] reads as the `settings` of a run, apart from [`TRANSIENT`]
/// ones.
pub(crate) fn effective_config(settings: &Value) -> String {
    let mut text =
        "# What the run used. Another run with the same settings: train --config THIS_FILE\n"
            .to_string();
    let settings = settings.as_object().into_iter().flatten();
    let is_setting = |key: &str| !TRANSIENT.contains(&key) && key != SPLIT_RULE;
    for (key, value) in settings.filter(|(key, _)| is_setting(key)) {
        let value = match value {
            Value::String(text) => text.replace("${", r"\${").into(),
            value => value.clone(),
        };
        text.push_str(&format!("{key}: {value}\n")); // JSON is YAML
    }
    text
}
