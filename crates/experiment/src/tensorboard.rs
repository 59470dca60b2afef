//! 4.5 TensorBoard event files, shown by `tensorboard --logdir FOLDER`, also during a run.
//!
//! Each record is one write, so a killed process leaves at most one torn record, at the end of the
//! file, where readers stop. Records appended after it would not be read. Every start and every
//! resume therefore creates a new file, and TensorBoard reads the files of a folder as one run.
//!
//! A record is an `Event` message (time, step, content) in a TFRecord frame, whose checksums
//! distinguish a complete record from a torn one:
//!
//! ```text
//! length: u64 | masked crc32c of length: u32 | data | masked crc32c of data: u32   (little-endian)
//! ```
//!
//! <https://github.com/tensorflow/tensorboard/blob/master/tensorboard/compat/proto/event.proto>

pub(crate) mod histogram;
pub(crate) mod summary;

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::UNIX_EPOCH;

use anyhow::{Context, Result};
use crc::{CRC_32_ISCSI, Crc};
use serde_json::Value;

use crate::protobuf::Message;

/// CRC-32C (Castagnoli).
pub(crate) const CRC32C: Crc<u32> = Crc::<u32>::new(&CRC_32_ISCSI);
/// Number of event files that this process has created, in any folder.
static N_FILES_CREATED: AtomicUsize = AtomicUsize::new(0);

/// Writer of an event file. Only [`flush`](Self::flush) waits for the disk.
///
/// After a failed write the file may end in a torn record, and readers ignore everything after it.
pub struct TensorBoard {
    file: File,
    path: PathBuf,
}

impl TensorBoard {
    /// Creates a new event file in `folder`, and the folder if it does not exist.
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
        events.write_event(&file_version_event(now))?;
        Ok(events)
    }

    /// Writes a scalar. TensorBoard stores f32, so larger values become infinite.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn scalar(&mut self, step: usize, tag: &str, value: f64) -> Result<()> {
        self.write_summary(step, &summary::scalar(tag, value))
    }

    /// Writes a histogram of the finite ones of `values`.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn histogram(&mut self, step: usize, tag: &str, values: &[f32]) -> Result<()> {
        self.write_summary(step, &histogram::histogram(tag, values))
    }

    /// Writes a text, which TensorBoard renders as Markdown.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn text(&mut self, step: usize, tag: &str, text: &str) -> Result<()> {
        self.write_summary(step, &summary::text(tag, text))
    }

    /// Writes an image: the bytes of a PNG file, and its size in pixels.
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

    /// Writes the settings of the run, as a table among the texts and as a row of the tab HPARAMS.
    /// Nested keys are flattened, for example `model.n_layer`.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn hparams(&mut self, settings: &Value) -> Result<()> {
        let settings = summary::flatten_settings(settings);
        self.write_summary(0, &summary::text("settings", &summary::markdown_table(&settings)))?;
        self.write_summary(0, &summary::hyperparameters(&settings, unix_seconds()))
    }

    /// Marks a resume at `step`: TensorBoard discards this step and later ones of earlier files.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn resume_from(&mut self, step: usize) -> Result<()> {
        self.write_event(&session_start_event(unix_seconds(), step))
    }

    /// Syncs the file to disk.
    ///
    /// # Errors
    /// When the sync fails.
    pub fn flush(&mut self) -> Result<()> {
        self.file.sync_data().with_context(|| format!("writing {}", self.path.display()))
    }

    /// Path of the event file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    fn write_summary(&mut self, step: usize, value: &Message) -> Result<()> {
        self.write_event(&summary_event(unix_seconds(), step, value))
    }

    fn write_event(&mut self, event: &Message) -> Result<()> {
        let writing = || format!("writing {}", self.path.display());
        self.file.write_all(&tfrecord(event.as_ref())).with_context(writing)
    }
}

fn unix_seconds() -> f64 {
    UNIX_EPOCH.elapsed().unwrap_or_default().as_secs_f64()
}

/// Host name of this machine, or `host` if it is not easily found.
fn hostname() -> String {
    let name = fs::read_to_string("/proc/sys/kernel/hostname");
    let name = name.ok().or_else(|| std::env::var("HOSTNAME").ok()).unwrap_or_default();
    let name: String = name.trim().chars().filter(|&c| c.is_alphanumeric() || c == '-').collect();
    if name.is_empty() { "host".to_string() } else { name }
}

/// Frame around `data`.
pub(crate) fn tfrecord(data: &[u8]) -> Vec<u8> {
    let length = (data.len() as u64).to_le_bytes();
    let crc = |bytes: &[u8]| mask_crc(CRC32C.checksum(bytes)).to_le_bytes();
    [&length[..], &crc(&length), data, &crc(data)].concat()
}

/// Masked checksum, as stored: a CRC of data that contains its own CRC would be weak.
fn mask_crc(crc: u32) -> u32 {
    crc.rotate_right(15).wrapping_add(0xa282_ead8)
}

/// First event of every file.
pub(crate) fn file_version_event(wall_time: f64) -> Message {
    Message::new().double(1, wall_time).bytes(3, "brain.Event:2") // wall_time, file_version
}

/// Event with a `Summary` of one `Value`.
pub(crate) fn summary_event(wall_time: f64, step: usize, value: &Message) -> Message {
    let summary = Message::new().bytes(1, value); // value
    // wall_time, step, summary
    Message::new().double(1, wall_time).varint(2, step as u64).bytes(5, summary)
}

/// Event with the `SessionLog` of a session start.
pub(crate) fn session_start_event(wall_time: f64, step: usize) -> Message {
    let start = Message::new().varint(1, 1); // status = START
    // wall_time, step, session_log
    Message::new().double(1, wall_time).varint(2, step as u64).bytes(7, start)
}
