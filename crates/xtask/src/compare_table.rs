//! Rows of `cargo x compare`, and the table that is printed of them.

use serde::Serialize;

/// Row of the result.
#[derive(Serialize)]
pub(crate) struct Row {
    pub(crate) work: String,
    pub(crate) ours: f64,
    #[serde(rename = "pytorch")]
    pub(crate) theirs: f64,
    pub(crate) ratio: f64,
    pub(crate) unit: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) gflop_per_s: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) gb_per_s: Option<f64>,
    /// Reason why the other side has no value.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) error: Option<String>,
}

impl Row {
    /// Medians of the values of both sides over the turns.
    pub(crate) fn new(work: String, unit: &str, pairs: &[(f64, f64)]) -> Self {
        let median_of = |f: fn(&(f64, f64)) -> f64| median(pairs.iter().map(f).collect());
        Self {
            work,
            ours: median_of(|pair| pair.0),
            theirs: median_of(|pair| pair.1),
            // Median of the ratios of the turns: drift of the machine affects both sides of a turn.
            ratio: median_of(|pair| pair.0 / pair.1),
            unit: unit.to_owned(),
            gflop_per_s: None,
            gb_per_s: None,
            error: None,
        }
    }

    /// Row without values of `work`, which failed.
    pub(crate) fn of_failure(work: String, error: &anyhow::Error) -> Self {
        let error = format!("{error:#}");
        let error = error.lines().next().unwrap_or_default().to_string();
        Self { error: Some(error), ..Self::new(work, "", &[(0., 0.)]) }
    }
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// Prints the rows as a table, with the share of the machine's peak where it was measured.
pub(crate) fn print_table(rows: &[Row]) {
    // The peak of the machine is the best rate of either side in the rows that measure only it.
    let peak = |name: &str, rate: fn(&Row) -> Option<f64>| {
        let rows = rows.iter().filter(|row| row.work.starts_with(name));
        rows.filter_map(|row| Some(rate(row)? * (row.theirs / row.ours).max(1.))).fold(0., f64::max)
    };
    let flops = peak("matrix product", |row| row.gflop_per_s);
    let bytes = peak("memory read", |row| row.gb_per_s);
    println!("| work | ours | theirs (PyTorch eager if not named) | ratio | rate | of peak |");
    println!("| --- | --- | --- | --- | --- | --- |");
    for Row { work, ours, theirs, ratio, unit, gflop_per_s, gb_per_s, error } in rows {
        if let Some(error) = error {
            println!("| {work} | | failed: {error} | | | |");
            continue;
        }
        let number = |x: &f64| if *x < 100. { format!("{x:.2}") } else { format!("{x:.0}") };
        let (rate, share) = match (gflop_per_s, gb_per_s) {
            (Some(rate), _) => (format!("{rate:.0} GFLOP/s"), rate / flops),
            (_, Some(rate)) => (format!("{rate:.1} GB/s"), rate / bytes),
            _ => (String::new(), f64::INFINITY),
        };
        let share = match share.is_finite() {
            true => format!("{:.0} %", 100. * share),
            false => String::new(), // the row that measures the peak was not run
        };
        let (ours, theirs) = (number(ours), number(theirs));
        println!("| {work} | {ours} {unit} | {theirs} {unit} | {ratio:.2} | {rate} | {share} |");
    }
}
