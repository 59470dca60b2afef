//! The report: one self-contained HTML page made from the files of the stages.

mod chart;
mod curves;
mod heat_map;
mod provenance;

use anyhow::{Context, Result};
use minijinja::value::Serde;
use minijinja::{AutoEscape, Environment};
use serde_json::{Value, json};
use tensor_core::atomic_file;

use crate::course::CourseRun;
use crate::evaluation::{GroupSample, ModelResults, Proportion};
use crate::scoreboard::{self, MODELS, Scoreboard, one_line};
use crate::stage::StageRecord;
use crate::stages::{CourseStage, STAGES};
use crate::{attention, data, sample};

const PAGE: &str = include_str!("report/page.html");
const STYLE: &str = include_str!("report/style.css");

/// Writes `report.html` about the finished stages.
///
/// # Errors
/// When a file cannot be read or written.
pub(crate) fn write(course: &CourseRun) -> Result<()> {
    let stages = STAGES.iter().filter_map(|stage| stage_json(course, stage).transpose());
    let stages: Vec<Value> = stages.collect::<Result<_>>()?;
    let seconds: f64 = stages.iter().filter_map(|stage| stage["seconds"].as_f64()).sum();
    let folder = course.stage_folder("scoreboard");
    let is_done = StageRecord::read(&folder)?.is_some();
    let board = if is_done { scoreboard::open(&folder)? } else { None };
    let last = course.last_chat_stage()?.unwrap_or("grpo");
    let page = json!({
        "style": STYLE,
        "time": format_duration(seconds),
        "machine": provenance::machine(),
        "commit": provenance::commit(),
        "seed": course.settings.seed,
        "model": course.stage_folder(last).display().to_string(),
        "abilities": data::describe_abilities(course),
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
    page.context("rendering the page")
}

/// Template variables of a stage, if it is done.
fn stage_json(course: &CourseRun, stage: &CourseStage) -> Result<Option<Value>> {
    let folder = course.stage_folder(stage.name);
    let Some(record) = StageRecord::read(&folder)? else { return Ok(None) };
    let maps = attention::open(&folder)?;
    let maps = maps.iter().map(heat_map::svg);
    Ok(Some(json!({
        "name": stage.name,
        "title": stage.title,
        "idea": stage.idea,
        "reading": stage.reading,
        "command": record.command,
        "seconds": record.seconds,
        "time": format_duration(record.seconds),
        "tokens": format_count(record.tokens),
        "results": record.results,
        "charts": curves::charts(stage.name, &folder)?,
        "maps": maps.collect::<Vec<_>>(),
        "samples": sample::open(&folder)?,
    })))
}

/// Template variables of the scoreboard.
fn scoreboard_json(course: &CourseRun, board: &Scoreboard) -> Result<Value> {
    let rows = board.models.iter().map(|model| row_json(course, board, model));
    let rows = rows.collect::<Result<Vec<_>>>()?;
    let completion = |GroupSample { text, advantage }: &GroupSample| {
        let strength = (advantage.abs() * 30.).min(60.).round(); // of the color, in percent
        json!({ "text": one_line(text, 60), "advantage": advantage, "strength": strength })
    };
    let groups = board.displayed.iter().zip(&board.groups);
    let groups = groups.map(|([prompt, _], completions)| {
        let completions: Vec<Value> = completions.iter().map(completion).collect();
        json!({ "prompt": prompt, "completions": completions })
    });
    Ok(json!({
        "n": board.n_examples,
        "test_set": data::describe_test_set(course),
        "rows": rows,
        "two_scores": two_scores_json(course)?,
        "reward_accuracy": percent_interval(board.reward_accuracy),
        "displayed": board.displayed,
        "groups": groups.collect::<Vec<_>>(),
    }))
}

/// Template variables of a row of the scoreboard.
fn row_json(course: &CourseRun, board: &Scoreboard, model: &ModelResults) -> Result<Value> {
    // Boards of older versions have other models.
    let stage = MODELS.iter().find(|(_, name)| *name == model.stage).map(|(stage, _)| *stage);
    let record = stage.map(|stage| StageRecord::read(&course.stage_folder(stage))).transpose()?;
    let record = record.flatten().unwrap_or_default();
    let completion = |(text, [_, answer]): (&String, &[String; 2])| {
        let correct = text.trim() == answer;
        json!({ "text": one_line(text, 60), "correct": correct })
    };
    let completions = model.completions.iter().zip(&board.displayed).map(completion);
    let relaxed = Proportion::with_interval(model.relaxed_match, board.n_examples);
    Ok(json!({
        "name": model.stage,
        "stage": stage,
        "exact": percent_interval(model.exact_match),
        "relaxed": percent_interval(relaxed),
        "gain": gain_json(board, model),
        "reward_model_score": model.reward_model_score.map(|score| format!("{score:.2}")),
        "eos_rate": percent(model.eos_rate),
        "tokens": format_count(record.tokens),
        "answers": format_count(record.completions),
        "time": format_duration(record.seconds),
        "plateau": record.plateau_seconds().map(format_duration),
        "completions": completions.collect::<Vec<_>>(),
    }))
}

/// Points of exact match that a model has gained since fine-tuning, and their two parts: skill, by
/// which relaxed match has grown, and form, by which right answers in a wrong form have become
/// fewer. `None` for the models up to fine-tuning.
fn gain_json(board: &Scoreboard, model: &ModelResults) -> Option<Value> {
    let start = board.models.iter().position(|model| model.stage == "fine-tuned")?;
    let place = board.models.iter().position(|other| other.stage == model.stage)?;
    if place <= start {
        return None;
    }
    let start = &board.models[start];
    let exact = model.exact_match.value - start.exact_match.value;
    let skill = model.relaxed_match - start.relaxed_match;
    let points = |gain: f64| format!("{:+.1}", 100. * gain);
    Some(json!({ "exact": points(exact), "skill": points(skill), "form": points(exact - skill) }))
}

/// Charts of the two scores without and with a KL penalty, of the stages that are done.
fn two_scores_json(course: &CourseRun) -> Result<Vec<Value>> {
    let mut charts = Vec::new();
    for (stage, title) in [("ppo-rm-no-kl", "β = 0"), ("ppo-rm", "β = 0.1")] {
        let folder = course.stage_folder(stage);
        if StageRecord::read(&folder)?.is_some() {
            let chart = curves::two_scores(&folder)?;
            charts.push(json!({ "title": title, "charts": chart }));
        }
    }
    Ok(charts)
}

fn percent_interval(Proportion { value, low, high }: Proportion) -> Value {
    json!({ "value": percent(value), "low": percent(low), "high": percent(high) })
}

/// Percentage with one decimal.
fn percent(proportion: f64) -> f64 {
    (1000. * proportion).round() / 10.
}

/// Short form of a count: 1,234,567 as `1.2 M`.
fn format_count(n: u64) -> String {
    match n {
        0 => String::new(),
        1..1000 => n.to_string(),
        1000..1_000_000 => format!("{:.0} k", n as f64 / 1e3),
        _ => format!("{:.1} M", n as f64 / 1e6),
    }
}

/// Minutes and seconds: 75 as `1 min 15 s`.
fn format_duration(seconds: f64) -> String {
    let seconds = seconds.round() as u64;
    match seconds {
        0 => "under a second".into(),
        1..60 => format!("{seconds} s"),
        _ => format!("{} min {:02} s", seconds / 60, seconds % 60),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn generated_text_is_escaped_in_the_page() -> Result<()> {
        let samples = json!([{ "text": "<script>", "tokens": [] }]);
        let page = json!({
            "style": "", "time": "1 s", "stages": [{ "title": "<b>", "samples": samples }],
        });
        let page = render(&page)?;
        assert!(!page.contains("<script>") && page.contains("&lt;script&gt;"), "{page}");
        Ok(())
    }

    #[test]
    fn gains_are_told_apart_into_skill_and_form() -> Result<()> {
        let model = |stage: &str, exact: f64, relaxed: f64| -> Result<ModelResults> {
            let exact = json!({ "value": exact, "low": 0., "high": 1. });
            Ok(serde_json::from_value(json!({
                "stage": stage, "exact_match": exact, "relaxed_match": relaxed, "eos_rate": 1.,
                "completions": [],
            }))?)
        };
        let board = Scoreboard {
            n_examples: 500,
            models: vec![model("fine-tuned", 0.42, 0.70)?, model("GRPO", 0.93, 0.95)?],
            reward_accuracy: Proportion { value: 0.9, low: 0., high: 1. },
            displayed: Vec::new(),
            groups: Vec::new(),
        };
        assert_eq!(gain_json(&board, &board.models[0]), None);
        let gain = json!({ "exact": "+51.0", "skill": "+25.0", "form": "+26.0" });
        assert_eq!(gain_json(&board, &board.models[1]), Some(gain));
        Ok(())
    }

    #[test]
    fn tokens_in_the_loss_are_highlighted() -> Result<()> {
        let tokens =
            json!([{ "text": "2+2=", "in_loss": false }, { "text": "4", "in_loss": true }]);
        let samples = json!([{ "text": "2+2=4", "tokens": tokens }]);
        let page = render(&json!({ "stages": [{ "name": "sft", "samples": samples }] }))?;
        assert!(page.contains(r#"<span class="token">2+2=</span>"#), "{page}");
        assert!(page.contains(r#"<span class="token in-loss">4</span>"#), "{page}");
        Ok(())
    }
}
