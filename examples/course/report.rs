//! The page: what came of the run, from the files that its stages left, in one file that needs nothing else.

mod chart;
mod curves;
mod heat_map;
mod origin;

use anyhow::{Context, Result};
use minijinja::value::Serde;
use minijinja::{AutoEscape, Environment};
use serde_json::{Value, json};
use tensor_core::atomic_file;

use crate::course::CourseRun;
use crate::exam::{GroupSample, ModelResults, Proportion};
use crate::scoreboard::{self, MODELS, Scoreboard, one_line};
use crate::stage::StageRecord;
use crate::stages::{CourseStage, STAGES};
use crate::{attention, sample};

const PAGE: &str = include_str!("report/page.html");
const STYLE: &str = include_str!("report/style.css");

/// Writes `report.html` of what is done so far.
///
/// # Errors
/// When a file cannot be read or written.
pub(crate) fn write(course: &CourseRun) -> Result<()> {
    let stages = STAGES.iter().filter_map(|stage| stage_json(course, stage).transpose());
    let stages: Vec<Value> = stages.collect::<Result<_>>()?;
    let seconds: f64 = stages.iter().filter_map(|stage| stage["seconds"].as_f64()).sum();
    let folder = course.stage_folder("scoreboard");
    let done = StageRecord::read(&folder)?.is_some();
    let board = if done { scoreboard::open(&folder)? } else { None };
    let page = json!({
        "style": STYLE,
        "time": format_duration(seconds),
        "machine": origin::machine(),
        "commit": origin::commit(),
        "seed": course.settings.seed,
        "quick": course.settings.quick,
        "board": board.map(|board| scoreboard_json(course, &board)).transpose()?,
        "stages": stages,
    });
    let path = course.out.join("report.html");
    atomic_file::write(&path, render(&page)?.as_bytes())
}

fn render(page: &Value) -> Result<String> {
    let mut templates = Environment::new();
    templates.set_auto_escape_callback(|_| AutoEscape::Html);
    templates.add_template("page", PAGE)?;
    let page = templates.get_template("page")?.render(Serde(page));
    page.context("filling in the page")
}

/// A stage, if it is done.
fn stage_json(course: &CourseRun, stage: &CourseStage) -> Result<Option<Value>> {
    let folder = course.stage_folder(stage.name);
    let Some(note) = StageRecord::read(&folder)? else { return Ok(None) };
    let maps = attention::open(&folder)?;
    let maps = maps.iter().map(heat_map::svg);
    Ok(Some(json!({
        "name": stage.name,
        "title": stage.title,
        "idea": stage.idea,
        "command": note.command,
        "seconds": note.seconds,
        "time": format_duration(note.seconds),
        "tokens": format_count(note.tokens),
        "found": note.results,
        "charts": curves::charts(stage.name, &folder)?,
        "maps": maps.collect::<Vec<_>>(),
        "samples": sample::open(&folder)?,
    })))
}

/// The scoreboard as the page shows it.
fn scoreboard_json(course: &CourseRun, board: &Scoreboard) -> Result<Value> {
    let row = |(marks, (stage, _)): (&ModelResults, (&str, &str))| -> Result<Value> {
        let note = StageRecord::read(&course.stage_folder(stage))?.unwrap_or_default();
        let right = |(answer, [_, wanted]): (&String, &[String; 2])| json!({ "text": one_line(answer, 60), "right": answer.trim() == wanted });
        Ok(json!({
            "name": marks.stage,
            "exact": percent_interval(marks.exact_match),
            "forgiven": percent(marks.relaxed_match),
            "ended": percent(marks.eos_rate),
            "tokens": format_count(note.tokens),
            "time": format_duration(note.seconds),
            "answers": marks.completions.iter().zip(&board.displayed).map(right).collect::<Vec<_>>(),
        }))
    };
    let rows = board.models.iter().zip(MODELS).map(row).collect::<Result<Vec<_>>>()?;
    let tried = |tries: &Vec<GroupSample>| -> Vec<Value> {
        let one = |tried: &GroupSample| {
            let strength = (tried.advantage.abs() * 30.).min(60.).round();
            json!({ "text": one_line(&tried.text, 60), "advantage": tried.advantage, "strength": strength })
        };
        tries.iter().map(one).collect()
    };
    let groups = board.displayed.iter().zip(&board.groups);
    let groups =
        groups.map(|([question, _], tries)| json!({ "question": question, "tries": tried(tries) }));
    Ok(json!({
        "n": board.n_examples,
        "rows": rows,
        "judge": percent_interval(board.reward_accuracy),
        "shown": board.displayed,
        "groups": groups.collect::<Vec<_>>(),
    }))
}

fn percent_interval(Proportion { value: share, low, high }: Proportion) -> Value {
    json!({ "share": percent(share), "low": percent(low), "high": percent(high) })
}

/// In percent, to one decimal.
fn percent(share: f64) -> f64 {
    (1000. * share).round() / 10.
}

/// 1,234,567 as `1.2 M`.
fn format_count(n: u64) -> String {
    match n {
        0 => String::new(),
        1..1000 => n.to_string(),
        1000..1_000_000 => format!("{:.0} k", n as f64 / 1e3),
        _ => format!("{:.1} M", n as f64 / 1e6),
    }
}

/// 75 as `1 min 15 s`.
fn format_duration(seconds: f64) -> String {
    let seconds = seconds.round() as u64;
    match seconds {
        0 => "under a second".into(),
        1..60 => format!("{seconds} s"),
        _ => format!("{} min {:02} s", seconds / 60, seconds % 60),
    }
}

/// A text for the page's own pictures.
fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_models_say_cannot_become_part_of_the_page() -> Result<()> {
        let page = json!({
            "style": "", "time": "1 s", "stages": [{ "title": "<b>", "samples": [{ "text": "<script>", "tokens": [] }] }],
        });
        let page = render(&page)?;
        assert!(!page.contains("<script>") && page.contains("&lt;script&gt;"), "{page}");
        Ok(())
    }
}
