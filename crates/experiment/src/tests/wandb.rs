//! 4.5: W&B files have valid frames at every position relative to the block boundaries.

use std::fs;
use std::path::Path;

use anyhow::Result;
use serde_json::json;

use crate::tracker::{Tracker, TrackerFlags, TrackerKind};
use crate::wandb::{HEADER, Wandb, format_utc, frame_record, histogram};

const BLOCK: usize = 32 * 1024;

/// Records of a file that begins at `offset`, and the frame types of all fragments.
fn parse_frames(offset: usize, file: &[u8]) -> (Vec<Vec<u8>>, Vec<u8>) {
    let (mut at, mut records, mut kinds) = (0, Vec::new(), Vec::new());
    while at < file.len() {
        let left = BLOCK - (offset + at) % BLOCK;
        if left < 7 {
            assert!(file[at..at + left].iter().all(|&byte| byte == 0));
            at += left;
            continue;
        }
        let (length, kind) = (u16::from_le_bytes([file[at + 4], file[at + 5]]), file[at + 6]);
        let data = &file[at + 7..at + 7 + usize::from(length)];
        assert!(data.len() + 7 <= left, "a frame crosses a block");
        match kind {
            1 | 2 => records.push(data.to_vec()),
            _ => records.last_mut().unwrap().extend(data),
        }
        kinds.push(kind);
        at += 7 + data.len();
    }
    (records, kinds)
}

/// Output of `DataStore` of the package `wandb` 0.29.0:
/// `store.open_for_write(path); store._write_data(b"123456789"); store._write_data(b"")`.
#[test]
fn files_equal_those_of_the_package_wandb_byte_for_byte() {
    let mut file = HEADER.to_vec();
    file.extend(frame_record(file.len(), b"123456789"));
    file.extend(frame_record(file.len(), b""));
    let hex: String = file.iter().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!(hex, "3a572642e1be00c02eb5210900013132333435363738391bdf05a5000001");
}

#[test]
fn records_of_any_length_survive_any_block_boundary() {
    let data: Vec<u8> = (0..3 * BLOCK).map(|at| (at % 251) as u8).collect();
    for left in 0..20 {
        for length in [0, 1, 5, 13, BLOCK - 8, BLOCK - 7, BLOCK - 6, BLOCK, 3 * BLOCK] {
            let data = &data[..length];
            let (records, kinds) = parse_frames(BLOCK - left, &frame_record(BLOCK - left, data));
            assert_eq!(records, [data], "{left} bytes left of the block");
            let (last, others) = kinds.split_last().unwrap();
            let expected = match others {
                [] => 1,
                [first, middle @ ..] => {
                    assert!(*first == 2 && middle.iter().all(|&kind| kind == 3), "{kinds:?}");
                    4
                }
            };
            assert_eq!(*last, expected, "{kinds:?}");
        }
    }
}

#[test]
fn a_run_has_the_folder_layout_of_wandb_sync() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let run = Wandb::create(folder.path(), "stories", "first", &json!({ "lr": 0.001 }))?;
    let other = Wandb::create(folder.path(), "stories", "first", &json!({}))?;
    assert_ne!(run.path(), other.path());
    let name = |path: &std::path::Path| path.file_name().unwrap().to_string_lossy().into_owned();
    let (file, parent) = (name(run.path()), run.path().parent().unwrap());
    let id = file.strip_prefix("run-").unwrap().strip_suffix(".wandb").unwrap();
    assert_eq!(id.len(), 8);
    let timestamp = name(parent);
    let timestamp = timestamp.strip_prefix("offline-run-").unwrap().strip_suffix(id).unwrap();
    assert_eq!(timestamp.len(), "20240229_235959-".len());
    assert_eq!(parent.parent(), Some(folder.path().join("wandb").as_path()));
    Ok(())
}

#[test]
fn every_row_is_written_at_once_and_the_exit_record_by_finish() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let mut run = Wandb::create(folder.path(), "stories", "first", &json!({ "lr": 0.001 }))?;
    let path = run.path().to_path_buf();
    let records = || -> Result<Vec<Vec<u8>>> { Ok(parse_frames(7, &fs::read(&path)?[7..]).0) };
    assert_eq!(records()?.len(), 1);
    let long = json!({ "loss": 2.5, "text": "long ".repeat(20_000) });
    for step in 1..=3 {
        run.log(step, long.as_object().unwrap())?;
        assert_eq!(records()?.len(), 1 + 2 * step);
    }
    run.finish()?;
    let all = records()?;
    // num = 8, then exit (18): exit_code = 0, and runtime
    assert!(all.last().unwrap().starts_with(&[0x08, 8, 0x92, 0x01, 4, 0x08, 0, 0x10]));
    assert_eq!(all.len(), 8);
    Ok(())
}

#[test]
fn a_run_has_the_name_and_the_project_of_its_flags() -> Result<()> {
    let folder = tempfile::tempdir()?;
    for (run_name, wandb_project, names) in [
        (Some("first"), Some("stories"), ["first", "stories"]),
        (None, None, ["my_run", "llm-from-scratch"]),
    ] {
        let [run_name, wandb_project] =
            [run_name, wandb_project].map(|name| name.map(str::to_string));
        let flags = TrackerFlags { tracker: TrackerKind::Wandb, run_name, wandb_project };
        let folder = folder.path().join(names[1]).join("my_run");
        Tracker::create(&flags, &folder, &json!({}), 0)?.finish()?;
        let file = |folder: &Path| -> Result<_> {
            Ok(fs::read_dir(folder)?.next().expect("an entry")?.path())
        };
        let bytes = fs::read(file(&file(&folder.join("wandb"))?)?)?;
        for name in names {
            let is_name = |part: &[u8]| part == name.as_bytes();
            assert!(bytes.windows(name.len()).any(is_name), "{name}");
        }
    }
    Ok(())
}

#[test]
fn a_histogram_counts_the_finite_values_between_its_edges() {
    let found = histogram(&[0., 0., 0.5, 1., f32::NAN, f32::INFINITY]);
    let counts: Vec<u64> = serde_json::from_value(found["values"].clone()).expect("counts");
    let edges: Vec<f64> = serde_json::from_value(found["bins"].clone()).expect("edges");
    assert_eq!((counts[0], counts[32], counts[63], counts.iter().sum()), (2, 1, 1, 4));
    assert_eq!((edges.len(), edges[0], edges[32], edges[64]), (65, 0., 0.5, 1.));
    let equal = histogram(&[3., 3.]);
    assert_eq!((equal["values"][0].as_u64(), equal["bins"][0].as_f64()), (Some(2), Some(3.)));
    assert_eq!(histogram(&[])["values"][0], 0);
}

#[test]
fn settings_must_be_a_json_object() {
    let folder = tempfile::tempdir().unwrap();
    let refused = Wandb::create(folder.path(), "stories", "first", &json!(3)).map(|_| ());
    assert!(refused.unwrap_err().to_string().contains("object"));
}

/// Expected values from `date -u -d @SECONDS +%Y%m%d_%H%M%S`.
#[test]
fn utc_times_equal_those_of_the_command_date() {
    let times = [
        (0, "19700101_000000"),
        (951_868_799, "20000229_235959"),
        (951_868_800, "20000301_000000"),
        (1_735_689_599, "20241231_235959"),
        (1_772_323_200, "20260301_000000"),
        (4_107_542_400, "21000301_000000"),
    ];
    for (seconds, time) in times {
        assert_eq!(format_utc(seconds).unwrap(), time);
    }
}
