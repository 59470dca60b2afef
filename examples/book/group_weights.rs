//! Chapter 9: how much a prompt counts in the gradient, over the share of its completions that are
//! right, with and without the division by the group's standard deviation.

use anyhow::Result;
use grpo::{Baseline, advantages};

use crate::artifacts::Artifact;
use crate::plot::{self, Axes, Cells, Mark, Series};

/// Completions of a group.
const G: usize = 8;

/// Weight of E[∇log π | right] − E[∇log π | wrong] in the mean gradient of a prompt that is solved
/// with probability `p`: the mean of c A / G over the number c of right completions, whose
/// advantage is A.
pub(crate) fn weight(p: f64, g: usize, baseline: Baseline) -> Result<f64> {
    let (mut weight, mut probability) = (0., (1. - p).powi(g as i32)); // of c = 0
    for c in 0..=g {
        let rewards: Vec<f32> = (0..g).map(|i| if i < c { 1. } else { 0. }).collect();
        let advantage = advantages(&rewards, g, baseline, 0., 0.)?[0];
        weight += probability * c as f64 * f64::from(advantage) / g as f64;
        probability *= (g - c) as f64 / (c + 1) as f64 * p / (1. - p);
    }
    Ok(weight)
}

/// Advantages of a group of eight completions under four baselines, as numbers in cells.
fn advantage_figure() -> Result<String> {
    let rewards = [1., 1., 0.5, 0.5, 0., 0., 0., 0.];
    let rows = ["mean", "others", "mean, std", "best"];
    let baselines =
        [Baseline::GroupMean, Baseline::LeaveOneOut, Baseline::GroupStd, Baseline::BestOfGroup];
    let mut table = Vec::new();
    for baseline in baselines {
        table.push(advantages(&rewards, G, baseline, 0., 0.)?);
    }
    let texts = table.iter().map(|row| row.iter().map(|a| format!("{a:+.2}")).collect());
    let shade = table.iter().map(|row| row.iter().map(|a| f64::from(a.max(0.) / 1.6)).collect());
    let columns: Vec<String> = rewards.iter().map(ToString::to_string).collect();
    let columns: Vec<&str> = columns.iter().map(String::as_str).collect();
    let cells = Cells {
        title: "advantages of eight completions with these rewards",
        rows: &rows,
        columns: &columns,
        texts: texts.collect(),
        shade: shade.collect(),
    };
    plot::figure(220, |area| plot::cells(area, &cells, (100, 56), (60, 38)))
}

/// Both figures.
pub(crate) fn artifacts() -> Result<Vec<Artifact>> {
    let ps: Vec<f64> = (1..100).map(|i| f64::from(i) / 100.).collect();
    let dots: Vec<f64> = (1..20).map(|i| f64::from(i) / 20.).collect();
    let exact = |baseline| -> Result<Vec<(f64, f64)>> {
        dots.iter().map(|&p| Ok((p, weight(p, G, baseline)?))).collect()
    };
    let curve = |f: fn(f64) -> f64| ps.iter().map(|&p| (p, f(p))).collect();
    let series = [
        Series::line("divided by std: √(p(1 − p))", 1, curve(|p| (p * (1. - p)).sqrt())),
        Series::line("not divided: p(1 − p)", 0, curve(|p| p * (1. - p))),
        Series::line("group-std, G = 8", 1, exact(Baseline::GroupStd)?).marked(Mark::Dots),
        Series::line("leave-one-out, G = 8", 0, exact(Baseline::LeaveOneOut)?).marked(Mark::Dots),
    ];
    let axes = Axes {
        title: "weight of a prompt in the gradient",
        x: ("share p of completions that are right", 0. ..1.01),
        y: ("weight", 0. ..0.55),
        x_tick: plot::plain,
    };
    let svg = plot::figure(330, |area| plot::chart(area, &axes, &series))?;
    Ok(vec![
        Artifact::figure("group_advantages", advantage_figure()?),
        Artifact::figure("prompt_weight", svg),
    ])
}
