//! Folder in memory for the files of an input: most readers take a path.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::safetensors_file;

/// Folder for the files of one input at a time.
pub struct Scratch {
    path: PathBuf,
    /// Files and folders of the present input, relative to the folder.
    written: Vec<String>,
}

impl Scratch {
    /// Empty folder of this process, in memory where the system has such a place.
    pub fn new(target: &str) -> Self {
        let memory = Path::new("/dev/shm");
        let parent = if memory.is_dir() { memory.to_path_buf() } else { std::env::temp_dir() };
        let path = parent.join(format!("fuzz-{target}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&path);
        fs::create_dir_all(&path).expect("the folder can be created");
        Self { path, written: Vec::new() }
    }

    /// Path of the folder.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Writes a file, and returns its path.
    pub fn write(&mut self, name: &str, bytes: impl AsRef<[u8]>) -> PathBuf {
        let path = self.path.join(name);
        if let Some((folder, _)) = name.rsplit_once('/') {
            fs::create_dir_all(self.path.join(folder)).expect("the folder can be created");
        }
        fs::write(&path, bytes).expect("the file can be written");
        self.written.push(name.to_string());
        path
    }

    /// Replaces the files by those of `document`: its keys are names, its values JSON, text, or the
    /// description of a safetensors file.
    pub fn write_files(&mut self, document: &Value) {
        self.clear();
        for (name, content) in document.as_object().into_iter().flatten() {
            let is_plain = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
            if name.is_empty() || name.starts_with('.') || !name.chars().all(is_plain) {
                continue;
            }
            if name.len() < 64 {
                self.write(name, content_bytes(name, content));
            }
        }
    }

    /// Removes the files that were written.
    pub fn clear(&mut self) {
        for name in self.written.drain(..) {
            let _ = fs::remove_file(self.path.join(name));
        }
    }

    /// Removes all files and folders, also those that the project has written.
    pub fn clear_all(&mut self) {
        self.written.clear();
        let _ = fs::remove_dir_all(&self.path);
        fs::create_dir_all(&self.path).expect("the folder can be created");
    }
}

/// Content of the file `name`: text as it is, other JSON as JSON.
pub fn content_bytes(name: &str, content: &Value) -> Vec<u8> {
    match content {
        Value::String(text) => text.clone().into_bytes(),
        Value::Object(_) if name.ends_with(".safetensors") => safetensors_file::bytes(content),
        json => json.to_string().into_bytes(),
    }
}
