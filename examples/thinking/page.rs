//! The page: curves, answers and controls.

#[path = "../course/report/chart.rs"]
mod chart;
#[path = "../course/report/provenance.rs"]
mod provenance;

use std::path::Path;

use anyhow::{Context, Result};
use minijinja::value::Serde;
use minijinja::{AutoEscape, Environment};
use serde_json::{Value, json};
use tensor_core::atomic_file;

use self::chart::{Chart, Line};
use crate::answers::{Means, SumAnswer, change, one_digit};
use crate::learning::{LENGTH_PENALTY, PROMPTS_PER_STEP, Run};
use crate::policy::GROUP_SIZE;

const PAGE: &str = include_str!("page.html");
const STYLE: &str = include_str!("../course/report/style.css");
/// Test answers that are shown: one of each number of terms, which take turns.
const N_SHOWN: usize = 7;

/// Curve over the steps of a run: the mean of its answers that are `chosen`.
struct Curve<'a> {
    name: &'a str,
    run: &'a Run,
    chosen: fn(&SumAnswer) -> bool,
}

/// Writes the page about `runs`, the first of which had the `controls`.
///
/// # Errors
/// When it cannot be written.
pub(crate) fn write(
    path: &Path,
    runs: &[Run],
    controls: &[Run],
    seconds: f64,
    quick: bool,
) -> Result<()> {
    let run = runs.first().context("there is no run")?;
    let easy = Curve { name: "up to two digits other than 0", run, chosen: |a| a.n_terms() <= 2 };
    let hard = Curve { name: "three to eight", run, chosen: |a| a.n_terms() > 2 };
    let control_curves: Vec<Curve<'_>> =
        controls.iter().map(|run| Curve::of_all(run.variant.name, run)).collect();
    let by_variant = || std::iter::once(run).chain(controls);
    let page = json!({
        "style": STYLE,
        "quick": quick,
        "minutes": format!("{:.1}", seconds / 60.),
        "machine": provenance::machine(),
        "commit": provenance::commit(),
        "seed": run.seed,
        "n_parameters": run.n_parameters,
        "n_steps": run.train_answers.len(),
        "prompts_per_step": PROMPTS_PER_STEP,
        "group_size": GROUP_SIZE,
        "length_penalty": LENGTH_PENALTY,
        "n_test": run.test_answers[0].len(),
        "charts": charts(&[easy, hard, Curve::of_all("all", run)]),
        "control_charts": charts(&control_curves),
        "terms": (2..=8).map(|n| row_of_terms(run, n)).collect::<Vec<_>>(),
        "answers": shown_answers(run),
        "controls": by_variant().map(|run| row(run.variant.name, run)).collect::<Vec<_>>(),
        "seeds": runs.iter().map(|run| row(&run.seed.to_string(), run)).collect::<Vec<_>>(),
    });
    let mut templates = Environment::new();
    templates.set_auto_escape_callback(|_| AutoEscape::Html);
    templates.add_template("page", PAGE)?;
    let page =
        templates.get_template("page")?.render(Serde(&page)).context("rendering the page")?;
    atomic_file::write(path, page.as_bytes())
}

impl<'a> Curve<'a> {
    fn of_all(name: &'a str, run: &'a Run) -> Self {
        Self { name, run, chosen: |_| true }
    }

    fn line(&self, y: fn(Means) -> f64) -> Line {
        let steps = (1..).zip(&self.run.train_answers);
        let point = |(step, answers): (u32, &Vec<SumAnswer>)| {
            let means = Means::over(answers, self.chosen)?;
            Some((f64::from(step), y(means)))
        };
        Line { name: self.name.into(), points: steps.filter_map(point).collect() }
    }
}

/// Charts of accuracy and length.
fn charts(curves: &[Curve<'_>]) -> [String; 2] {
    let lines = |y: fn(Means) -> f64| curves.iter().map(|curve| curve.line(y)).collect();
    let [accuracy, length] = [lines(|means| means.accuracy), lines(|means| means.length)];
    [
        Chart { y: "accuracy", x: "step", lines: accuracy, y_range: Some([0., 1.]) },
        Chart { y: "tokens per answer", x: "step", lines: length, y_range: Some([0., 18.]) },
    ]
    .map(|chart| chart.svg())
}

/// Accuracy, share of worked answers and length, before and after.
fn cells(means: [Option<Means>; 2]) -> Vec<String> {
    vec![
        change(means, |means| 100. * means.accuracy),
        change(means, |means| 100. * means.worked),
        change(means, |means| means.length),
    ]
}

/// Row of a run: all test problems, and the share of worked answers to the easiest and the hardest.
fn row(name: &str, run: &Run) -> Value {
    let worked = |n_terms| {
        let means = run.before_and_after(|answer| answer.n_terms() == n_terms);
        change(means, |means| 100. * means.worked)
    };
    let cells = [cells(run.before_and_after(|_| true)), vec![worked(2), worked(8)]].concat();
    json!({ "name": name, "cells": cells })
}

/// Row of the test problems with `n_terms` digits other than 0.
fn row_of_terms(run: &Run, n_terms: usize) -> Value {
    let means = run.before_and_after(|answer| answer.n_terms() == n_terms);
    // Before GRPO there are answers of both kinds, or of one.
    let accuracy = |is_worked: bool| {
        let chosen =
            |answer: &SumAnswer| answer.n_terms() == n_terms && answer.is_worked() == is_worked;
        one_digit(Means::over(&run.test_answers[0], chosen).map(|means| 100. * means.accuracy))
    };
    let cells = [cells(means), vec![accuracy(true), accuracy(false)]].concat();
    json!({ "name": n_terms, "cells": cells })
}

/// Test problems, and the answers to them before, during and after GRPO.
fn shown_answers(run: &Run) -> Value {
    let rows = run.test_steps().into_iter().zip(&run.test_answers).map(|(step, answers)| {
        let answers = answers.iter().take(N_SHOWN);
        let cell = |answer: &SumAnswer| json!({ "text": answer.text, "is_right": answer.is_right });
        json!({ "step": step, "cells": answers.map(cell).collect::<Vec<_>>() })
    });
    let sums = run.test_answers[0].iter().take(N_SHOWN).map(|answer| &answer.sum);
    json!({ "sums": sums.collect::<Vec<_>>(), "rows": rows.collect::<Vec<_>>() })
}
