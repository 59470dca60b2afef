//! Chapter 11: best of n and the majority vote, counted out.

use anyhow::Result;
use dpo::best_of_n::kl_bound;
use ppo::tabular_mdp::{completion_probs, random_policy};

use crate::artifacts::Artifact;
use crate::goodhart::{Optimum, optima, optimum, scores};
use crate::plot::{self, Axes, Mark, Series};

// ANCHOR: best_of_n
/// Best of n by the judge of chapter 7, in its world of 125 completions. A completion y is the best
/// of n if all are at most as good, and not all are worse: P(≤ y)ⁿ − P(< y)ⁿ.
pub(crate) fn best_of_n(n: i32) -> Result<Optimum> {
    let reference: Vec<f64> = completion_probs(&random_policy(1)?)?.to_vec1()?;
    let (truth, proxy) = scores()?;
    let mut order: Vec<usize> = (0..proxy.len()).collect();
    order.sort_by(|&a, &b| proxy[a].total_cmp(&proxy[b]));
    let (mut below, mut best) = (0., Optimum { kl: 0., proxy: 0., truth: 0. });
    for y in order {
        let p = f64::powi(below + reference[y], n) - f64::powi(below, n);
        below += reference[y];
        if p > 0. {
            best.kl += p * (p / reference[y]).ln();
        }
        best.proxy += p * proxy[y];
        best.truth += p * truth[y];
    }
    Ok(best)
}
// ANCHOR_END: best_of_n

/// Best policy with the judge's score `proxy`, by bisection over β.
pub(crate) fn optimum_of_score(proxy: f64) -> Result<Optimum> {
    let (mut low, mut high) = (1e-2f64, 1e3f64);
    for _ in 0..60 {
        let middle = (low * high).sqrt();
        if optimum(middle)?.proxy > proxy { low = middle } else { high = middle }
    }
    optimum(low)
}

/// Prints pairs of policies with one score and two truths.
pub(crate) fn run() -> Result<()> {
    println!("a judge that overrates 2 of 125 answers; pairs of policies with the same score\n");
    println!("judge's score   truth: best of n    best policy at some β");
    for n in [2, 4, 8, 16, 32, 64] {
        let best = best_of_n(n)?;
        let other = optimum_of_score(best.proxy)?;
        println!("{:13.3}   {:6.3}  (n = {n:2})    {:6.3}", best.proxy, best.truth, other.truth);
    }
    Ok(())
}

/// Probability that the first of answers with the probabilities `probs` is the most frequent one of
/// n samples. Of equally frequent answers each came first equally often.
pub(crate) fn majority_is_right(probs: &[f64], n: usize) -> f64 {
    /// Sum over the counts of the answers from `probs[0]` on, of which `rest` samples are left; the
    /// right answer has `right` of all, and `ties` others as many.
    fn over_counts(probs: &[f64], rest: usize, right: usize, ties: usize) -> f64 {
        let Some((p, others)) = probs.split_first() else {
            return if rest == 0 { 1. / (ties + 1) as f64 } else { 0. };
        };
        let (mut sum, mut weight) = (0., 1.); // C(rest, count) p^count
        for count in 0..=rest.min(right) {
            let ties = ties + usize::from(count == right);
            sum += weight * over_counts(others, rest - count, right, ties);
            weight *= (rest - count) as f64 / (count + 1) as f64 * p;
        }
        sum
    }
    let (mut sum, mut weight) = (0., 1.);
    for right in 0..=n {
        if right > 0 {
            sum += weight * over_counts(&probs[1..], n - right, right, 0);
        }
        weight *= (n - right) as f64 / (right + 1) as f64 * probs[0];
    }
    sum
}

/// Share of right majorities where one question in two has `probs[0]`, the other `probs[1]`, of
/// being right, against one wrong answer.
pub(crate) fn majority_of_two_kinds(probs: [f64; 2], n: usize) -> f64 {
    probs.map(|p| majority_is_right(&[p, 1. - p], n)).iter().sum::<f64>() / 2.
}

/// Both figures.
pub(crate) fn artifacts() -> Result<Vec<Artifact>> {
    let n_samples = [1, 2, 4, 8, 16, 32, 64, 128, 256];
    let best = n_samples.into_iter().map(best_of_n).collect::<Result<Vec<_>>>()?;
    let optima = optima()?;
    let of = |all: &[Optimum], value: fn(&Optimum) -> f64| -> Vec<(f64, f64)> {
        all.iter().map(|at| (at.kl, value(at))).collect()
    };
    let series = [
        Series::line("judge's score, π* of some β", 1, of(&optima, |at| at.proxy)),
        Series::line("its truth", 0, of(&optima, |at| at.truth)),
        Series::line("judge's score, best of n", 1, of(&best, |at| at.proxy)).marked(Mark::Dots),
        Series::line("its truth", 0, of(&best, |at| at.truth)).marked(Mark::Dots),
    ];
    let axes = Axes {
        title: "best of 1, 2, 4 … 256 beside the best policies, in 125 completions",
        x: ("KL to the reference, nats", 0. ..4.5),
        y: ("mean score", -2.6..3.8),
        x_tick: plot::plain,
    };
    let best_svg = plot::figure(330, |area| plot::chart(area, &axes, &series))?;
    let samples = || (1..=16).map(|i| 2 * i - 1);
    let curve = |share: &dyn Fn(usize) -> f64| -> Vec<(f64, f64)> {
        samples().map(|n| (n as f64, share(n))).collect()
    };
    let two = |p: f64| curve(&|n| majority_is_right(&[p, 1. - p], n));
    let series = [
        Series::line("right .6, wrong .4", 0, two(0.6)).marked(Mark::LineAndDots),
        Series::line(
            "right .4, three wrong of .2",
            2,
            curve(&|n| majority_is_right(&[0.4, 0.2, 0.2, 0.2], n)),
        )
        .marked(Mark::LineAndDots),
        Series::line("right .45, wrong .55", 1, two(0.45)).marked(Mark::LineAndDots),
        Series::line(
            "half of the questions .9, half .3",
            3,
            curve(&|n| majority_of_two_kinds([0.9, 0.3], n)),
        )
        .marked(Mark::LineAndDots),
    ];
    let axes = Axes {
        title: "how often the majority of n samples is right",
        x: ("n", 0. ..31.5),
        y: ("share", 0. ..1.02),
        x_tick: plot::plain,
    };
    let majority_svg = plot::figure(330, |area| plot::chart(area, &axes, &series))?;
    let rows = n_samples.map(|n| -> Result<Vec<String>> {
        let Optimum { kl, proxy, truth } = best_of_n(n)?;
        let numbers = [kl, kl_bound(n as usize), proxy, truth].map(|x| format!("{x:.3}"));
        Ok([vec![n.to_string()], numbers.to_vec()].concat())
    });
    let rows = rows.into_iter().collect::<Result<Vec<_>>>()?;
    let header = ["n", "KL, nats", "bound", "judge's score", "truth"];
    Ok(vec![
        Artifact::figure("best_of_n", best_svg),
        Artifact::figure("majority", majority_svg),
        Artifact::table("best_of_n", &header, &rows),
    ])
}
