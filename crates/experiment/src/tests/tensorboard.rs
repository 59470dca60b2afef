//! 4.5: event files equal those of TensorBoard's writer, and a torn file is readable up to its last
//! complete record.

use std::fs;

use anyhow::Result;
use serde_json::json;

use crate::tensorboard::histogram::histogram;
use crate::tensorboard::summary::{
    flatten_settings, hyperparameters, image, markdown_table, scalar, text,
};
use crate::tensorboard::{
    CRC32C, TensorBoard, file_version_event, session_start_event, summary_event, tfrecord,
};

/// Data of the complete records of a file.
fn records(mut file: &[u8]) -> Vec<&[u8]> {
    let mut records = Vec::new();
    while let Some((length, rest)) = file.split_first_chunk::<8>() {
        let length = u64::from_le_bytes(*length) as usize;
        let Some(data) = rest.get(4..4 + length) else { break };
        if !file.starts_with(&tfrecord(data)) {
            break;
        }
        records.push(data);
        file = &rest[length + 8..];
    }
    records
}

#[test]
fn the_checksum_is_crc_32c() {
    // The check value of CRC-32C in https://reveng.sourceforge.io/crc-catalogue/all.htm
    assert_eq!(CRC32C.checksum(b"123456789"), 0xe306_9283);
}

/// The golden file was written by `scripts/golden_events.py` with the same values.
#[test]
fn event_files_equal_those_of_tensorboards_writer_byte_for_byte() {
    let settings = json!({
        "lr": 0.001, "model": { "n_layer": 2 }, "name": "tiny", "seen": [1, 2], "tied": true,
    });
    let values = [-2.5, -1.5, 0., 0.5f32.powi(10), 0.5f32.powi(10), 3., 2f32.powi(70)];
    let mut logged = vec![
        (1, scalar("loss", 0.25)),
        (300, scalar("loss", 0.)),
        (2, histogram("gradients", &values)),
        (3, text("sample", "Once | upon\na time, नमस्ते")),
        (4, image("picture", b"PNG", 3, 2)),
    ];
    logged.extend(
        flatten_settings(&settings)
            .into_iter()
            .map(|setting| (5, hyperparameters(&[setting], 7.5))),
    );
    let mut events = vec![file_version_event(1.5e9)];
    for (second, (step, value)) in (1..).zip(&logged) {
        events.push(summary_event(1.5e9 + f64::from(second), *step, value));
    }
    events.push(session_start_event(1.5e9 + 11., 6));
    let file = include_bytes!("../../tests/golden/events.tfevents");
    let golden = records(file);
    assert_eq!(golden.len(), events.len());
    for (golden, event) in golden.iter().zip(&events) {
        assert_eq!(golden, &event.as_ref());
    }
    assert_eq!(
        file[..],
        events.iter().flat_map(|event| tfrecord(event.as_ref())).collect::<Vec<u8>>()
    );
}

#[test]
fn a_torn_file_is_readable_up_to_its_last_complete_record() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let mut events = TensorBoard::create(folder.path())?;
    events.scalar(0, "loss", 5.)?;
    events.text(1, "sample", &"long ".repeat(50))?;
    events.histogram(2, "weights", &[1., 2.])?;
    let file = fs::read(events.path())?;
    let all = records(&file);
    assert_eq!(all.len(), 4);
    let (mut n_complete, mut end) = (0, 0);
    for cut in 0..=file.len() {
        if all.get(n_complete).is_some_and(|data| end + data.len() + 16 == cut) {
            (n_complete, end) = (n_complete + 1, cut);
        }
        assert_eq!(records(&file[..cut]), all[..n_complete], "cut at {cut}");
    }
    assert_eq!(n_complete, 4);
    Ok(())
}

#[test]
fn every_start_creates_a_new_event_file() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let folder = folder.path().join("runs/first");
    let writers = [TensorBoard::create(&folder)?, TensorBoard::create(&folder)?];
    assert_eq!(fs::read_dir(&folder)?.count(), 2);
    for events in writers {
        let name = events.path().file_name().unwrap().to_string_lossy();
        // TensorBoard searches for "tfevents"; the seconds order the files.
        let rest = name.strip_prefix("events.out.tfevents.").unwrap();
        assert!(rest.len() > 10 && rest[..10].bytes().all(|byte| byte.is_ascii_digit()), "{name}");
        assert!(rest[10..].contains(&format!(".{}.", std::process::id())), "{name}");
        assert_eq!(records(&fs::read(events.path())?).len(), 1);
    }
    Ok(())
}

#[test]
fn any_f64_is_stored_as_the_nearest_f32() {
    let non_finite =
        [(f64::NAN, f32::NAN), (f64::INFINITY, f32::INFINITY), (-1e300, -f32::INFINITY)];
    for (value, stored) in non_finite.into_iter().chain([(-0., -0.), (1e-300, 0.), (-3.5, -3.5)]) {
        let message = scalar("x", value);
        assert_eq!(
            message.as_ref(),
            [b"\x0a\x01x\x15", &stored.to_le_bytes()[..]].concat(),
            "{value}"
        );
    }
}

#[test]
fn histograms_ignore_values_that_are_not_finite() {
    let bytes = |values: &[f32]| histogram("weights", values).as_ref().to_vec();
    assert_eq!(bytes(&[f32::NAN, 1., f32::INFINITY, -2., f32::NEG_INFINITY]), bytes(&[1., -2.]));
    assert_eq!(bytes(&[f32::NAN]), bytes(&[]));
    // min, max, num, sum, sum_squares; bucket_limit and bucket with one entry each.
    let number = |field: u8, value: f64| [&[field << 3 | 1], &value.to_le_bytes()[..]].concat();
    let packed = |field: u8, value: f64| [&[field << 3 | 2, 8], &value.to_le_bytes()[..]].concat();
    let numbers = (1..=5).flat_map(|field| number(field, 0.));
    let empty: Vec<u8> = numbers.chain(packed(6, f64::MAX)).chain(packed(7, 0.)).collect();
    assert!(bytes(&[]).ends_with(&empty), "{:?}", bytes(&[]));
}

#[test]
fn settings_are_escaped_in_the_markdown_table() {
    let settings =
        json!({ "lr": 1e-3, "model": { "n_layer": 2, "none": {} }, "name": "a|b\nc", "seen": [1] });
    let table = markdown_table(&flatten_settings(&settings));
    let rows =
        ["lr | 0.001", "model.n_layer | 2", "model.none | {}", "name | a\\|b c", "seen | [1]"];
    let rows = rows.map(|row| format!("| {row} |\n")).concat();
    assert_eq!(table, format!("| setting | value |\n|---|---|\n{rows}"));
}
