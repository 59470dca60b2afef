//! Agreement of people who label the same pairs: what they share beyond chance is the most that a
//! reward model can learn from them.
//!
//! ```text
//! κ = (p_o − p_e) / (1 − p_e)        Cohen 1960
//! p_o   share of pairs with the same label
//! p_e   the share that two people reach who draw labels at random, each as often as they did
//! ```
//!
//! κ is 1 for full agreement, 0 for that of chance, and undefined if both use a single label.

use std::collections::BTreeMap;

use crate::annotation_file::Annotation;

/// Agreement of two people on the pairs that both have labeled.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Agreement {
    /// Number of pairs.
    pub n: usize,
    /// Share of pairs with the same label.
    pub observed: f64,
    /// Cohen's κ; `None` if both used one label for all pairs.
    pub kappa: Option<f64>,
}

impl Agreement {
    /// Agreement on items with these `labels` by two people; `None` without items.
    ///
    /// # Examples
    /// ```
    /// use reward::agreement::Agreement;
    /// // 20 times both yes, 15 times both no, 5 and 10 times different: p_o = 0.7, p_e = 0.5
    /// let labels = [((1, 1), 20), ((1, 0), 5), ((0, 1), 10), ((0, 0), 15)];
    /// let labels: Vec<_> = labels.iter().flat_map(|&(pair, n)| vec![pair; n]).collect();
    /// let agreement = Agreement::of_labels(&labels).unwrap();
    /// assert!((agreement.kappa.unwrap() - 0.4).abs() < 1e-12);
    /// ```
    pub fn of_labels(labels: &[(i8, i8)]) -> Option<Self> {
        let n = labels.len() as f64;
        let mut counts: BTreeMap<i8, [f64; 2]> = BTreeMap::new();
        for &(a, b) in labels {
            counts.entry(a).or_default()[0] += 1.;
            counts.entry(b).or_default()[1] += 1.;
        }
        let same = labels.iter().filter(|(a, b)| a == b).count() as f64;
        let expected = counts.values().map(|[a, b]| a * b / (n * n)).sum::<f64>();
        let observed = same / n;
        let is_defined = counts.len() > 1;
        let kappa = is_defined.then(|| (observed - expected) / (1. - expected));
        (!labels.is_empty()).then_some(Self { n: labels.len(), observed, kappa })
    }

    /// Agreement of two people on which completion is better (first, second, or neither), and on
    /// the step of the scale; `None` if they have no pair in common.
    pub fn of_annotations(ours: &[Annotation], theirs: &[Annotation]) -> Option<[Self; 2]> {
        let mut steps = Vec::new();
        for Annotation { prompt, pair, step } in ours {
            let same = |other: &&Annotation| other.prompt == *prompt && other.pair == *pair;
            steps.extend(theirs.iter().find(same).map(|other| (*step, other.step)));
        }
        let directions: Vec<(i8, i8)> =
            steps.iter().map(|(a, b)| (a.signum(), b.signum())).collect();
        Some([Self::of_labels(&directions)?, Self::of_labels(&steps)?])
    }
}
