//! 4.5 Weights & Biases, offline: a folder that `wandb sync` uploads later; until then neither a
//! network nor an API key is needed.
//!
//! The folder holds one file, a sequence of `Record` messages: the run with its settings, then rows
//! of metrics, each with an updated summary (the last value of each metric), and the exit status.
//! W&B shows a run without an exit record as failed.
//! <https://github.com/wandb/wandb/blob/main/wandb/proto/wandb_internal.proto>
//!
//! The records follow a W&B header in LevelDB's log format. The file is divided into blocks of
//! 32 KiB. A record that does not fit in the rest of its block continues in the next, so a reader
//! can resynchronize at any block. Each fragment has a frame, which never crosses a block:
//!
//! ```text
//! crc32 of type and data: u32 | length: u16 | type: u8 | data          (little-endian)
//! type: full 1, first 2, middle 3, last 4
//! ```
//!
//! LevelDB uses crc32c; W&B uses crc32.
//! <https://github.com/google/leveldb/blob/main/doc/log_format.md>

use std::fs::{self, File};
use std::hash::{BuildHasher, RandomState};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, UNIX_EPOCH};

use anyhow::{Context, Result};
use crc::{CRC_32_ISO_HDLC, Crc};
use serde_json::{Map, Value, json};
use time::OffsetDateTime;
use time::format_description::parse_strftime_borrowed;

use crate::protobuf::Message;

const CRC32: Crc<u32> = Crc::<u32>::new(&CRC_32_ISO_HDLC);

/// File header: identifier, magic number 0xBEE1, version 0.
pub(crate) const HEADER: &[u8; 7] = b":W&B\xe1\xbe\x00";

const HISTOGRAM_BINS: usize = 64;
const BLOCK_BYTES: usize = 32 * 1024;
const FRAME_HEADER_BYTES: usize = 7;

/// Writer of a W&B run. Each record is one write, so a killed process leaves at most one torn
/// record, at the end.
///
/// A resumed training is a new W&B run, because nothing can be appended after a torn record.
pub struct Wandb {
    file: File,
    path: PathBuf,
    /// Bytes written so far.
    offset: usize,
    /// Records written so far.
    n_records: u64,
    start_time: Instant,
}

impl Wandb {
    /// Creates `folder/wandb/offline-run-.../run-....wandb`. `settings` must be a JSON object.
    ///
    /// # Errors
    /// When `settings` is not an object, or the file cannot be written.
    pub fn create(folder: &Path, project: &str, name: &str, settings: &Value) -> Result<Self> {
        let settings =
            settings.as_object().context("the settings of a run must be a JSON object")?;
        let (now, id) = (unix_time(), run_id());
        let run = format!("offline-run-{}-{id}", format_utc(now.as_secs())?);
        let folder = folder.join("wandb").join(run);
        fs::create_dir_all(&folder).with_context(|| format!("creating {}", folder.display()))?;
        let path = folder.join(format!("run-{id}.wandb"));
        let file =
            File::create_new(&path).with_context(|| format!("creating {}", path.display()))?;
        let mut run = Self { file, path, offset: 0, n_records: 0, start_time: Instant::now() };
        run.write(HEADER)?;
        run.write_record(17, &run_record(&id, project, name, settings, now))?;
        Ok(run)
    }

    /// Writes all metrics of `step` as one row. Steps must not decrease, and a second call for a
    /// step adds a second row. JSON cannot represent NaN, so null is written as NaN.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn log(&mut self, step: usize, values: &Map<String, Value>) -> Result<()> {
        let extra = [
            ("_step", json!(step)),
            ("_runtime", json!(self.start_time.elapsed().as_secs_f64())),
            ("_timestamp", json!(unix_time().as_secs_f64())),
        ];
        let values = values.iter().map(|(name, value)| (name.as_str(), value));
        let values = values.chain(extra.iter().map(|(name, value)| (*name, value)));
        let items = values.fold(Message::new(), |items, (name, value)| {
            let value = if value.is_null() { "NaN".to_string() } else { value.to_string() };
            // item: nested_key, value_json
            items.bytes(1, Message::new().bytes(2, name).bytes(16, value))
        });
        self.write_record(3, &items)?; // summary: update
        // history: step
        self.write_record(2, &items.bytes(2, Message::new().varint(1, step as u64)))
    }

    /// Writes the exit record of a successful run and syncs the file to disk.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn finish(mut self) -> Result<()> {
        let seconds = self.start_time.elapsed().as_secs();
        // exit: exit_code, runtime
        self.write_record(18, &Message::new().varint(1, 0).varint(2, seconds))?;
        self.file.sync_all().with_context(|| format!("writing {}", self.path.display()))
    }

    /// Path of the run's file. Pass its folder to `wandb sync`.
    pub fn path(&self) -> &Path {
        &self.path
    }

    fn write_record(&mut self, field: u32, content: &Message) -> Result<()> {
        self.n_records += 1;
        // num, and one field of the `oneof record_type`
        let record = Message::new().varint(1, self.n_records).bytes(field, content);
        self.write(&frame_record(self.offset, record.as_ref()))
    }

    fn write(&mut self, bytes: &[u8]) -> Result<()> {
        self.offset += bytes.len();
        let writing = || format!("writing {}", self.path.display());
        self.file.write_all(bytes).with_context(writing)
    }
}

/// Metric that W&B shows as a histogram of the finite ones of `values`: counts between edges of
/// equal distance.
pub(crate) fn histogram(values: &[f32]) -> Value {
    let finite = || values.iter().map(|&value| f64::from(value)).filter(|value| value.is_finite());
    let min = finite().reduce(f64::min).unwrap_or_default();
    let max = finite().reduce(f64::max).unwrap_or_default().max(min + f64::from(f32::EPSILON));
    let width = (max - min) / HISTOGRAM_BINS as f64;
    let mut counts = [0; HISTOGRAM_BINS];
    for value in finite() {
        counts[(((value - min) / width) as usize).min(HISTOGRAM_BINS - 1)] += 1;
    }
    let edges: Vec<f64> = (0..=HISTOGRAM_BINS).map(|i| min + i as f64 * width).collect();
    json!({ "_type": "histogram", "values": counts.to_vec(), "bins": edges })
}

fn run_record(
    id: &str,
    project: &str,
    name: &str,
    settings: &Map<String, Value>,
    start: Duration,
) -> Message {
    let config = settings.iter().fold(Message::new(), |config, (name, value)| {
        // update: key, value_json
        config.bytes(1, Message::new().bytes(1, name).bytes(16, value.to_string()))
    });
    let start =
        Message::new().varint(1, start.as_secs()).varint(2, u64::from(start.subsec_nanos()));
    // run_id, project, config, display_name, start_time
    Message::new().bytes(1, id).bytes(3, project).bytes(4, config).bytes(8, name).bytes(17, start)
}

fn unix_time() -> Duration {
    UNIX_EPOCH.elapsed().unwrap_or_default()
}

/// Random id of eight letters and digits. Its randomness is that of std's hash maps and not of the
/// run's seed, so two runs with the same seed have different ids.
fn run_id() -> String {
    let number = RandomState::new().hash_one(0);
    let digit = |place| char::from_digit((number / 36u64.pow(place) % 36) as u32, 36);
    (0..8).filter_map(digit).collect()
}

/// UTC time as `YYYYMMDD_HHMMSS`.
pub(crate) fn format_utc(unix_seconds: u64) -> Result<String> {
    let time = OffsetDateTime::from_unix_timestamp(unix_seconds as i64)?;
    Ok(time.format(&parse_strftime_borrowed("%Y%m%d_%H%M%S")?)?)
}

/// Framed `data`, for a file that has `offset` bytes so far.
pub(crate) fn frame_record(offset: usize, data: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(data.len() + FRAME_HEADER_BYTES);
    let (mut rest, mut is_first) = (data, true);
    loop {
        let mut left_in_block = BLOCK_BYTES - (offset + bytes.len()) % BLOCK_BYTES;
        if left_in_block < FRAME_HEADER_BYTES {
            bytes.resize(bytes.len() + left_in_block, 0);
            left_in_block = BLOCK_BYTES;
        }
        let (fragment, after) = rest.split_at(rest.len().min(left_in_block - FRAME_HEADER_BYTES));
        let kind = match (is_first, after.is_empty()) {
            (true, true) => 1,
            (true, false) => 2,
            (false, false) => 3,
            (false, true) => 4,
        };
        let mut crc = CRC32.digest();
        crc.update(&[kind]);
        crc.update(fragment);
        bytes.extend(crc.finalize().to_le_bytes());
        bytes.extend((fragment.len() as u16).to_le_bytes());
        bytes.push(kind);
        bytes.extend(fragment);
        if after.is_empty() {
            return bytes;
        }
        (rest, is_first) = (after, false);
    }
}
