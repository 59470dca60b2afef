//! Advantages and weights of the completions of a step, and the groups that are left out.

use anyhow::Result;
use ppo::SampledCompletion;
use tensor_core::testing::assert_close;

use super::{experience, inference_model, new_train_state, objective};
use crate::{GrpoExperience, Objective, OverlongHandling};

#[test]
fn better_completions_have_positive_advantages() -> Result<()> {
    let experience = experience(&new_train_state(1)?, OverlongHandling::None)?;
    for (text, advantage) in experience.completion_texts.iter().zip(&experience.advantages) {
        match &text[..] {
            "7" => assert!(*advantage >= 0.),
            _ => assert!(*advantage < 0., "{text}: {advantage}"),
        }
    }
    assert!(experience.advantages[0] > 0.);
    Ok(())
}

#[test]
fn zero_advantage_groups_are_left_out_unless_there_is_a_kl_term() -> Result<()> {
    let train_state = new_train_state(1)?;
    let experience = experience(&train_state, OverlongHandling::None)?;
    assert_eq!(
        (0..3).map(|group| experience.has_nonzero_advantage(group)).collect::<Vec<_>>(),
        [true, false, true]
    );
    let (inference_policy, with) = (inference_model(&train_state)?, objective());
    let without = Objective { kl: None, ..with };
    let count = |objective: &Objective| -> Result<usize> {
        Ok(experience
            .micro_batches(objective, &inference_policy, Some(&inference_policy), 1)?
            .len())
    };
    assert_eq!((count(&with)?, count(&without)?), (3, 2));
    Ok(())
}

#[test]
fn groups_without_an_included_completion_are_left_out() -> Result<()> {
    let train_state = new_train_state(1)?;
    let (inference_policy, mut experience) =
        (inference_model(&train_state)?, experience(&train_state, OverlongHandling::None)?);
    let n = |experience: &GrpoExperience| {
        anyhow::Ok(
            experience
                .micro_batches(&objective(), &inference_policy, Some(&inference_policy), 1)?
                .len(),
        )
    };
    assert_eq!(n(&experience)?, 3);
    experience.weights[3..].fill(0.);
    assert_eq!(
        (n(&experience)?, experience.has_nonzero_advantage(0), experience.has_nonzero_advantage(2)),
        (1, true, false)
    );
    Ok(())
}

#[test]
fn truncated_completions_are_masked_or_penalized() -> Result<()> {
    let train_state = new_train_state(1)?;
    let with_overlong = |overlong| experience(&train_state, overlong);
    let plain = with_overlong(OverlongHandling::None)?;
    let masked = with_overlong(OverlongHandling::Masked)?;
    let penalized = with_overlong(OverlongHandling::Penalized { buffer: 2 })?;
    let completions: Vec<&SampledCompletion> =
        plain.groups.iter().flat_map(|group| &group.completions).collect();
    let truncated = completions.iter().filter(|completion| !completion.terminated()).count();
    assert!(truncated > 0 && truncated < 9, "some must be truncated, some not: {truncated}");
    let all: f32 =
        completions.iter().zip(&masked.weights).map(|(r, w)| w * r.tokens.len() as f32).sum();
    assert_close(all, 1., 1e-5); // included completions have all the weight
    for (i, completion) in completions.iter().enumerate() {
        assert_eq!(masked.weights[i] == 0., !completion.terminated());
        let penalty = plain.rewards[i] - penalized.rewards[i];
        let expected = (completion.tokens.len() as f32 - 3.).max(0.) / 2.;
        assert_close(penalty, expected, 1e-6);
    }
    Ok(())
}
