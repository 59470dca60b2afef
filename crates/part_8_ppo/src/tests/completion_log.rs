//! 8.5: the summary of a step's completions.

use crate::completion_log::AnswerDistribution;

fn distribution(texts: &[&str]) -> AnswerDistribution {
    AnswerDistribution::new(&texts.iter().map(ToString::to_string).collect::<Vec<_>>())
}

#[test]
fn answers_are_counted_by_what_they_say() {
    let ours = distribution(&[
        "7",
        "7.",
        "so it is 7.0",
        "<answer> 7 </answer>",
        "1 + 2 = 3\n#### 3",
        "No idea.",
        "",
        "<answer>3 * 5 + 7</answer>",
    ]);
    assert_eq!(ours.answers, "7: 0.500, none: 0.250, 3: 0.125, 3 * 5 + 7: 0.125");
    assert_eq!(ours.answers_distinct, 4);
    // −(½ ln ½ + ¼ ln ¼ + 2 · ⅛ ln ⅛)
    assert!((ours.answer_entropy - 1.75 * std::f64::consts::LN_2).abs() < 1e-12);
}

#[test]
fn a_policy_with_one_answer_has_an_entropy_of_0() {
    let ours = distribution(&["0"; 5]);
    assert_eq!((ours.answer_entropy, &*ours.answers), (0., "0: 1.000"));
    let many: Vec<String> = (0..20).map(|i| i.to_string()).collect();
    let many = AnswerDistribution::new(&many);
    assert_eq!(many.answers.split(", ").count(), 8, "the most frequent ones");
    assert!((many.answer_entropy - 20f64.ln()).abs() < 1e-12);
}
