//! 4.5 TensorBoard's event files: `tensorboard --logdir FOLDER` draws them, also while a run goes on.
//!
//! Each record of a file is one write, so that a killed process leaves at most one torn record, at the end, where readers
//! stop. A file cannot be written on from there: every start and every resume makes a file of its own, and TensorBoard
//! reads the files of a folder as one run.

pub(crate) mod event;
pub(crate) mod histogram;
pub(crate) mod summary;

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result};
use serde_json::Value;

use crate::protobuf::Message;

/// How many files this process has begun, in any folder.
static N_FILES_CREATED: AtomicUsize = AtomicUsize::new(0);

/// An event file that is being written. No method waits for the disk but [`flush`](Self::flush).
///
/// All fail when the file cannot be written; after that, it may end in a torn record, and readers would not see what is
/// written behind it.
pub struct TensorBoard {
    file: File,
    path: PathBuf,
}

impl TensorBoard {
    /// A new event file in `folder`, which is made if need be.
    ///
    /// # Errors
    /// When the folder or the file cannot be written.
    pub fn create(folder: &Path) -> Result<Self> {
        fs::create_dir_all(folder).with_context(|| format!("creating {}", folder.display()))?;
        let now = unix_seconds();
        let number = N_FILES_CREATED.fetch_add(1, Ordering::Relaxed);
        let name = format!("{:010}.{}.{}.{number}", now as u64, hostname(), std::process::id());
        let path = folder.join(format!("events.out.tfevents.{name}"));
        let file =
            File::create_new(&path).with_context(|| format!("creating {}", path.display()))?;
        let mut events = Self { file, path };
        events.write_event(&event::file_version_event(now))?;
        Ok(events)
    }

    /// A number to be drawn over the steps. TensorBoard keeps it in 32 bits: what is larger than those hold is infinite.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn scalar(&mut self, step: usize, tag: &str, value: f64) -> Result<()> {
        self.write_summary(step, &summary::scalar(tag, value))
    }

    /// How many of `values` lie where. Values that are not finite are left out.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn histogram(&mut self, step: usize, tag: &str, values: &[f32]) -> Result<()> {
        self.write_summary(step, &histogram::histogram(tag, values))
    }

    /// A text, which TensorBoard reads as Markdown.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn text(&mut self, step: usize, tag: &str, text: &str) -> Result<()> {
        self.write_summary(step, &summary::text(tag, text))
    }

    /// A picture: the bytes of a PNG file, and its size in pixels.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn image(
        &mut self,
        step: usize,
        tag: &str,
        png: &[u8],
        width: u32,
        height: u32,
    ) -> Result<()> {
        self.write_summary(step, &summary::image(tag, png, width, height))
    }

    /// The settings of the run: a table among the texts, and a row of the tab HPARAMS, where runs are compared by them.
    /// Inner objects are spelled out, `model.n_layer`.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn hparams(&mut self, settings: &Value) -> Result<()> {
        let settings = summary::flatten_settings(settings);
        self.write_summary(0, &summary::text("settings", &summary::markdown_table(&settings)))?;
        self.write_summary(0, &summary::hyperparameters(&settings, unix_seconds()))
    }

    /// Says that the run goes on from `step`: what earlier files of the folder have of it and later steps is void.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn resume_from(&mut self, step: usize) -> Result<()> {
        self.write_event(&event::session_start_event(unix_seconds(), step))
    }

    /// Waits until the disk has all.
    ///
    /// # Errors
    /// When the disk refuses.
    pub fn flush(&mut self) -> Result<()> {
        self.file.sync_data().with_context(|| format!("writing {}", self.path.display()))
    }

    /// The event file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    fn write_summary(&mut self, step: usize, value: &Message) -> Result<()> {
        self.write_event(&event::summary_event(unix_seconds(), step, value))
    }

    fn write_event(&mut self, event: &Message) -> Result<()> {
        let writing = || format!("writing {}", self.path.display());
        self.file.write_all(&event::tfrecord(event.as_ref())).with_context(writing)
    }
}

fn unix_seconds() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64()
}

/// The name of this machine, where it is easily known.
fn hostname() -> String {
    let name = fs::read_to_string("/proc/sys/kernel/hostname");
    let name = name.ok().or_else(|| std::env::var("HOSTNAME").ok()).unwrap_or_default();
    let name: String = name.trim().chars().filter(|&c| c.is_alphanumeric() || c == '-').collect();
    if name.is_empty() { "host".to_string() } else { name }
}
