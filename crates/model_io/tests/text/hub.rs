//! Downloads from a local Hub server, including network failures.

use std::path::Path;

use anyhow::Result;
use model_io::{Hub, HubAccess, find_adapter, is_dataset_id, is_hub_id};
use tempfile::TempDir;

use crate::server::{COMMIT, Fault, Server, WHOLE_MODEL, etag};

const INDEX: &[u8] = br#"{"weight_map": {
    "a": "model-1.safetensors", "b": "model-2.safetensors", "c": "model-1.safetensors"
}}"#;
const SHARDED: [(&str, &[u8]); 6] = [
    ("README.md", b"not needed"),
    ("config.json", b"{}"),
    ("model-1.safetensors", &[1; 100_000]),
    ("model-2.safetensors", &[2; 10]),
    ("model.safetensors.index.json", INDEX),
    ("tokenizer.json", b"{}"),
];

fn hub(server: &Server, cache: &TempDir) -> Hub {
    let (endpoint, cache) = (server.endpoint.clone(), cache.path().join("hub"));
    Hub { endpoint, cache, token: None, access: HubAccess::Online }
}

fn offline(hub: &Hub) -> Hub {
    Hub { access: HubAccess::Offline, ..hub.clone() }
}

fn error<T: std::fmt::Debug>(result: Result<T>) -> String {
    format!("{:#}", result.unwrap_err())
}

fn assert_has(folder: &Path, files: &[(&str, &[u8])]) {
    for (name, bytes) in files {
        assert!(std::fs::read(folder.join(name)).unwrap() == *bytes, "{name} differs");
    }
}

#[test]
fn a_model_is_downloaded_once_and_then_cached() -> Result<()> {
    let (server, cache) = (Server::start(&SHARDED), TempDir::new()?);
    let hub = hub(&server, &cache);
    let folder = hub.fetch("owner/model")?;
    assert!(folder.ends_with(format!("models--owner--model/snapshots/{COMMIT}")));
    assert_has(&folder, &SHARDED[1..]);
    let requests = server.requests().join("\n");
    // Files that are not needed or not listed (chat_template.jinja) are not requested.
    assert!(!requests.contains("README") && !requests.contains("chat_template"), "{requests}");

    assert_eq!(hub.fetch("owner/model")?, folder);
    assert_eq!(server.requests(), ["/api/models/owner/model/revision/main"]);
    drop(server); // simulates a network failure
    assert_eq!(hub.fetch("owner/model")?, folder);
    assert_eq!(offline(&hub).fetch("owner/model")?, folder);
    assert_eq!(offline(&hub).fetch(&format!("owner/model@{COMMIT}"))?, folder);
    let message = error(hub.fetch("owner/model@v1"));
    assert!(message.contains("`owner/model@v1` is neither in the cache"), "{message}");
    assert!(message.contains("does not answer"), "{message}");
    Ok(())
}

#[test]
fn an_adapter_is_downloaded_without_its_tokenizer_and_completely() -> Result<()> {
    let adapter: [(&str, &[u8]); 5] = [
        ("adapter_config.json", b"{}"),
        ("adapter_model.safetensors", &[1; 1000]),
        ("chat_template.jinja", b"{{ messages }}"),
        ("tokenizer.json", b"not needed: that of the base model is used"),
        ("training_args.bin", b"not needed"),
    ];
    let (server, cache) = (Server::start(&adapter), TempDir::new()?);
    let hub = hub(&server, &cache);
    let folder = hub.fetch("owner/model")?;
    assert_has(&folder, &adapter[..3]);
    let requests = server.requests().join("\n");
    assert!(!requests.contains("tokenizer.json") && !requests.contains(".bin"), "{requests}");
    assert_eq!(find_adapter(&folder), Some(folder.clone()));
    assert_eq!(offline(&hub).fetch("owner/model")?, folder);
    std::fs::remove_file(folder.join("adapter_model.safetensors"))?;
    assert!(error(offline(&hub).fetch("owner/model")).contains("a complete copy"));

    let pickled: [(&str, &[u8]); 2] = [("adapter_config.json", b"{}"), ("adapter_model.bin", b"")];
    let (server, cache) = (Server::start(&pickled), TempDir::new()?);
    let message = error(self::hub(&server, &cache).fetch("owner/model"));
    assert!(message.contains("it lacks adapter_model.safetensors"), "{message}");
    Ok(())
}

#[test]
fn a_model_that_has_its_weights_as_bin_files_alone_is_downloaded_completely() -> Result<()> {
    let weights = include_bytes!("../golden/pytorch.bin");
    let index = br#"{"weight_map": {"f32": "pytorch_model-00001-of-00001.bin"}}"#;
    let whole: [(&str, &[u8]); 1] = [("pytorch_model.bin", weights)];
    let sharded: [(&str, &[u8]); 2] =
        [("pytorch_model.bin.index.json", index), ("pytorch_model-00001-of-00001.bin", weights)];
    let others: [(&str, &[u8]); 4] = [
        ("config.json", b"{}"),
        ("tokenizer.json", b"{}"),
        ("training_args.bin", b"not needed"),
        ("flax_model.msgpack", b"not needed"),
    ];
    for list in [&whole[..], &sharded] {
        let (server, cache) = (Server::start(&[list, &others].concat()), TempDir::new()?);
        let hub = hub(&server, &cache);
        let last = list[list.len() - 1].0;
        server.set_fault(Some((last, Fault::Cut)));
        assert!(error(hub.fetch("owner/model")).contains(last));
        assert!(error(offline(&hub).fetch("owner/model")).contains("a complete copy"));
        server.set_fault(None);
        let folder = hub.fetch("owner/model")?;
        assert_has(&folder, list);
        assert_has(&folder, &others[..2]);
        let requests = server.requests().join("\n");
        assert!(!requests.contains("training_args") && !requests.contains("flax"), "{requests}");
        assert_eq!(offline(&hub).fetch("owner/model")?, folder);
        std::fs::remove_file(folder.join(last))?;
        assert!(error(offline(&hub).fetch("owner/model")).contains("a complete copy"));
    }
    let both = [&whole[..], &others, &[("model.safetensors", &[1; 9])]].concat();
    let (server, cache) = (Server::start(&both), TempDir::new()?);
    hub(&server, &cache).fetch("owner/model")?;
    assert!(!server.requests().join("\n").contains("pytorch_model.bin"), "safetensors come first");
    Ok(())
}

#[test]
fn a_missing_model_gives_an_error_that_names_it() -> Result<()> {
    let (server, cache) = (Server::start(&SHARDED), TempDir::new()?);
    let message = error(hub(&server, &cache).fetch("owner/other"));
    let expected = format!("no model `owner/other` on the Hub at {} ", server.endpoint);
    assert!(message.contains(&expected) && message.contains("HF_TOKEN"), "{message}");
    let message = error(hub(&server, &cache).fetch("no id"));
    assert!(message.contains("owner/name"), "{message}");
    Ok(())
}

#[test]
fn a_missing_folder_that_looks_like_a_model_id_is_called_a_missing_folder() -> Result<()> {
    let (server, cache) = (Server::start(&SHARDED), TempDir::new()?);
    let hub = hub(&server, &cache);
    let id = "tests/no_such_run"; // `tests` is a folder here
    assert!(is_hub_id(id));
    let at = format!(" on the Hub at {} (private or gated ones need HF_TOKEN)", server.endpoint);
    let expected = format!("there is no folder {id}, and no model `{id}`{at}");
    assert_eq!(error(hub.fetch(id)), expected);
    let message = error(offline(&hub).fetch(id));
    assert!(message.starts_with(&format!("there is no folder {id}, and HF_HUB_OFFLINE is set")));
    drop(server);
    let message = error(hub.fetch(id));
    assert!(message.starts_with(&format!("there is no folder {id}, and the Hub at ")), "{message}");
    assert!(message.contains("does not answer") && !message.contains('\n'), "{message}");
    Ok(())
}

#[test]
fn a_model_removed_from_the_hub_is_read_from_the_cache() -> Result<()> {
    let (server, cache) = (Server::start(&SHARDED), TempDir::new()?);
    let hub = hub(&server, &cache);
    let folder = hub.fetch("owner/model")?;
    server.set_fault(Some(WHOLE_MODEL));
    assert_eq!(hub.fetch("owner/model")?, folder);
    std::fs::remove_file(folder.join("model-2.safetensors"))?;
    let message = error(hub.fetch("owner/model"));
    assert!(message.contains("no model `owner/model` on the Hub"), "{message}");
    Ok(())
}

#[test]
fn offline_access_requires_a_complete_cached_copy() -> Result<()> {
    let (server, cache) = (Server::start(&SHARDED), TempDir::new()?);
    let hub = hub(&server, &cache);
    let message = error(offline(&hub).fetch("owner/model"));
    assert!(message.contains("HF_HUB_OFFLINE") && message.contains("unset"), "{message}");
    assert!(server.requests().is_empty());

    server.set_fault(Some(("model-2.safetensors", Fault::Gated))); // all other files arrive
    error(hub.fetch("owner/model"));
    error(offline(&hub).fetch("owner/model"));
    server.set_fault(None);
    let folder = hub.fetch("owner/model")?;
    assert_eq!(offline(&hub).fetch("owner/model")?, folder);
    std::fs::remove_file(folder.join("model-2.safetensors"))?;
    error(offline(&hub).fetch("owner/model"));
    Ok(())
}

#[test]
fn an_interrupted_download_is_not_used_and_can_be_resumed() -> Result<()> {
    for fault in [Fault::Cut, Fault::CutSilently, Fault::Gated] {
        let (server, cache) = (Server::start(&SHARDED), TempDir::new()?);
        let hub = hub(&server, &cache);
        server.set_fault(Some(("model-1.safetensors", fault)));
        let message = error(hub.fetch("owner/model"));
        assert!(message.contains("model-1.safetensors"), "{message}");
        error(offline(&hub).fetch("owner/model"));
        server.set_fault(None);
        let folder = hub.fetch("owner/model")?;
        assert_has(&folder, &SHARDED[1..]);
    }
    Ok(())
}

#[test]
fn a_complete_partial_file_does_not_block_the_download() -> Result<()> {
    let (server, cache) = (Server::start(&SHARDED), TempDir::new()?);
    let blobs = cache.path().join("hub/models--owner--model/blobs");
    std::fs::create_dir_all(&blobs)?;
    for (name, bytes) in [("model-1.safetensors", 100_000), ("model-2.safetensors", 11)] {
        std::fs::write(blobs.join(etag(name)).with_extension("part"), vec![9; bytes])?;
    }
    let folder = hub(&server, &cache).fetch("owner/model")?;
    assert_has(&folder, &SHARDED[1..]);
    Ok(())
}

#[test]
fn a_single_gguf_file_is_downloaded_by_name() -> Result<()> {
    let files: [(&str, &[u8]); 2] = [("a-Q4_0.gguf", b"GGUF a"), ("a-Q8_0.gguf", b"GGUF b")];
    let (server, cache) = (Server::start(&files), TempDir::new()?);
    let hub = hub(&server, &cache);
    let path = hub.fetch("owner/model:a-Q8_0.gguf")?;
    assert_eq!(std::fs::read(&path)?, b"GGUF b");
    assert_eq!(offline(&hub).fetch("owner/model:a-Q8_0.gguf")?, path);
    for id in ["owner/model", "owner/model:other.gguf"] {
        let message = error(hub.fetch(id));
        assert!(message.contains("a-Q4_0.gguf, a-Q8_0.gguf"), "{message}");
    }
    Ok(())
}

#[test]
fn missing_safetensors_weights_are_named_in_the_error() -> Result<()> {
    let (server, cache) = (Server::start(&SHARDED[..2]), TempDir::new()?);
    let message = error(hub(&server, &cache).fetch("owner/model"));
    assert!(message.contains("model.safetensors"), "{message}");
    Ok(())
}

#[test]
fn a_weight_index_cannot_name_files_outside_its_folder() -> Result<()> {
    let index = br#"{"weight_map": {"a": "../../x.safetensors"}}"#;
    let files: [(&str, &[u8]); 2] =
        [("config.json", b"{}"), ("model.safetensors.index.json", index)];
    let (server, cache) = (Server::start(&files), TempDir::new()?);
    let message = error(hub(&server, &cache).fetch("owner/model"));
    assert!(message.contains("not a .safetensors file of this folder"), "{message}");
    Ok(())
}

#[test]
fn model_ids_are_distinguished_from_paths() {
    let crate_dir = env!("CARGO_MANIFEST_DIR");
    for id in ["HuggingFaceTB/SmolLM2-135M", "o/n@refs/pr/1", "o/n:f.gguf", "o/n@v1:sub/f.gguf"] {
        assert!(is_hub_id(id), "{id}");
    }
    for path in [
        crate_dir,
        "src/lib.rs",
        "gpt2",
        "./a/b",
        "../a",
        "a/b/c",
        "/a/b",
        "o/n:f.bin",
        "o/n:../f.gguf",
        "o/n@",
        "runs/a--b",
        "runs/a..b",
        "runs/a-",
        "",
    ] {
        assert!(!is_hub_id(path), "{path}");
    }
}

#[test]
fn data_set_ids_are_distinguished_from_paths() {
    for id in ["o/n:train.jsonl", "o/n@v1:sub/rows.json.gz", "o/n"] {
        assert!(is_dataset_id(id), "{id}");
    }
    for path in ["data/rows.jsonl", "rows.json", "o/n:f.gguf", "o/n:../a.json", ""] {
        assert!(!is_dataset_id(path), "{path}");
    }
}

#[test]
fn a_data_set_file_is_downloaded_and_cached() -> Result<()> {
    let files: [(&str, &[u8]); 2] = [("train.jsonl", b"{}\n"), ("other.jsonl", b"no")];
    let (server, cache) = (Server::start(&files), TempDir::new()?);
    let hub = hub(&server, &cache);
    let path = hub.fetch_dataset_file("owner/data:train.jsonl")?;
    assert!(path.ends_with(format!("datasets--owner--data/snapshots/{COMMIT}/train.jsonl")));
    assert_eq!(std::fs::read(&path)?, b"{}\n");
    assert!(!path.with_file_name("other.jsonl").exists());
    assert_eq!(offline(&hub).fetch_dataset_file("owner/data:train.jsonl")?, path);
    let message = error(hub.fetch_dataset_file("owner/data:none.jsonl"));
    assert!(
        message.contains("it lacks none.jsonl; it has: ") && message.contains("train.jsonl"),
        "{message}"
    );
    assert!(error(hub.fetch_dataset_file("owner/data")).contains("owner/data:file.jsonl"));
    assert!(
        error(hub.fetch_dataset_file("owner/gone:a.json"))
            .contains("no data set `owner/gone:a.json`")
    );
    Ok(())
}

#[test]
fn files_of_a_data_set_are_selected_in_its_conversion_and_then_among_its_own() -> Result<()> {
    let own: [(&str, &[u8]); 2] = [("train.jsonl", b"{}\n"), ("test.jsonl", b"[]")];
    let converted: [(&str, &[u8]); 2] =
        [("convert/default/train/0000.parquet", b"PAR1"), ("convert/../x.parquet", b"no")];
    let containing = |text: &'static str| {
        move |names: &[&str]| {
            let names: Vec<String> =
                names.iter().filter(|name| name.contains(text)).map(|&name| name.into()).collect();
            anyhow::ensure!(!names.is_empty(), "nothing contains {text}");
            Ok(names)
        }
    };
    let (server, cache) = (Server::start(&own), TempDir::new()?);
    let hub_of_own = hub(&server, &cache);
    let paths = hub_of_own.fetch_dataset("owner/data", &containing("train"))?;
    assert!(paths.len() == 1 && paths[0].ends_with(format!("snapshots/{COMMIT}/train.jsonl")));
    assert_eq!(offline(&hub_of_own).fetch_dataset("owner/data", &containing("train"))?, paths);
    let message = error(offline(&hub_of_own).fetch_dataset("owner/data", &containing("test")));
    assert!(message.contains("does not contain a complete copy"), "{message}");

    let (server, cache) = (Server::start(&[own, converted].concat()), TempDir::new()?);
    let hub = hub(&server, &cache);
    let paths = hub.fetch_dataset("owner/data", &containing("train"))?;
    assert!(paths.len() == 1 && paths[0].ends_with("snapshots/convert/default/train/0000.parquet"));
    assert_eq!(std::fs::read(&paths[0])?, b"PAR1");
    assert_eq!(offline(&hub).fetch_dataset("owner/data", &containing("train"))?, paths);
    let paths = hub.fetch_dataset("owner/data", &containing("test"))?;
    assert!(paths[0].ends_with("test.jsonl"), "what is not converted");
    let paths = hub.fetch_dataset("owner/data@main2", &containing("train"))?;
    assert!(paths[0].ends_with("train.jsonl"), "a named revision is not the conversion");
    let message = error(hub.fetch_dataset("owner/data", &containing("x.parquet")));
    assert!(message.contains("`owner/data` cannot be used: nothing contains x.parq"), "{message}");
    let message = error(hub.fetch_dataset("owner/gone", &containing("a")));
    assert!(message.contains("no data set `owner/gone` on the Hub"), "{message}");
    drop(server);
    let paths = hub.fetch_dataset("owner/data", &containing("test"))?;
    assert!(paths[0].ends_with("test.jsonl"), "an unavailable Hub leaves the cache");
    Ok(())
}
