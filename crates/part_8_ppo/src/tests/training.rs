//! 8.4: the loop learns, stops, goes on bit for bit, and says what is wrong.

use std::num::NonZeroUsize;

use anyhow::Result;
use candle_core::Tensor;
use modern::model_folder::TextEnds;
use modern::{Checkpoint, GptModern, ModelConfig};
use scaling::schedule::Decay;
use scaling::{Checkpoints, Schedule};
use sft::{Example, Format, Keeper, Outputs, Place, Speech, Tuning, word_tokenizer};
use tensor_core::{AdamWConfig, Parameters, Rng};
use tiny_gpt::Interrupt;

use super::CPU;
use crate::alarms::{Alarms, Signs};
use crate::experience::{Experience, RewardConfig, Scale};
use crate::gae::Discount;
use crate::kl::{KlControl, KlEstimator};
use crate::learner::Learner;
use crate::losses::{Clip, Weights};
use crate::prompts::questions;
use crate::update::{Pass, UpdateConfig, update};
use crate::{
    Asking, Exam, PpoConfig, PretrainingMix, Prompts, Question, Reply, RolloutConfig, RunLog,
    Scorer, Surroundings, Trunk, rollout, train,
};

fn speech() -> Result<Speech> {
    let text = "### Instruction:\nWhat is 12 + 7?\n\n### Response:\n19 the answer of all\n";
    let tokenizer = word_tokenizer::train([text; 4].into_iter(), 320)?;
    let template = sft::template::template(Format::Plain, &tokenizer, None)?;
    let end = tokenizer.eos().expect("an end");
    Speech::new(tokenizer, template, vec![end])
}

fn model_config(speech: &Speech) -> ModelConfig {
    let vocab_size = speech.tokenizer.vocab_size();
    ModelConfig { vocab_size, ..ModelConfig::bytes(24, 1, 2, 16) }
}

fn asked(speech: &Speech) -> Result<Vec<Question>> {
    let examples = (0..6).map(|i| Example::new(format!("What is {i} + 7?"), format!("{}", i + 7)));
    Ok(questions(examples.collect(), speech, 24, 4)?.0)
}

fn config(steps: usize, stop: u32) -> PpoConfig {
    PpoConfig {
        prompts: 4,
        rollout: RolloutConfig {
            samples: 4,
            sampler: modern::Sampler::new(modern::Choice::at(1., None, None, None)),
            max_new_tokens: 4,
            stop: vec![stop],
        },
        rewards: RewardConfig {
            discount: Discount { gamma: 1., lambda: 0.95 },
            kl: KlEstimator::K1,
            score_clip: None,
            cut_penalty: 0.,
            rewards: Scale::AsTheyAre,
        },
        kl_price: KlControl::Adaptive { initial: 0.01, target: 0.5, horizon: 100. },
        update: UpdateConfig {
            epochs: 2,
            mini_batches: 2,
            accumulate: 1,
            clip: Clip::symmetric(0.2),
            value_clip: Some(0.2),
            weights: Weights { value: 0.5, entropy: 0. },
            target_kl: None,
            grad_clip: 1.,
        },
        schedule: Schedule {
            peak: 5e-3,
            floor: 5e-3,
            warmup: 1,
            total: steps,
            decay: Decay::Constant,
        },
        critic_rate: 2.,
        seed: 3,
    }
}

fn learner(speech: &Speech, trunk: Trunk, config: &PpoConfig) -> Result<Learner> {
    let model = model_config(speech);
    let mut parameters = Parameters::seeded(5, candle_core::DType::F32, &CPU);
    GptModern::new(&model, parameters.root())?;
    let policy = Tuning::new(model, parameters, AdamWConfig::default())?;
    Learner::new(policy, trunk, AdamWConfig::default(), config.kl_price)
}

/// The policy as it starts, in memory of its own.
fn reference(speech: &Speech) -> Result<GptModern> {
    let mut parameters = Parameters::seeded(5, candle_core::DType::F32, &CPU);
    let model = GptModern::new(&model_config(speech), parameters.root())?;
    Ok(GptModern::new(model.config(), parameters.inference().root())?)
}

/// The share of a response's characters that are small letters.
fn letters() -> Box<Scorer> {
    let score = |reply: &Reply<'_>| {
        let n = reply.text.chars().count().max(1) as f64;
        reply.text.chars().filter(char::is_ascii_lowercase).count() as f64 / n
    };
    Box::new(move |replies, _| Ok(replies.iter().map(score).collect()))
}

fn run(
    learner: &mut Learner,
    scorer: &mut Scorer,
    config: &PpoConfig,
    outputs: &Outputs<'_>,
    mixed: bool,
) -> Result<f64> {
    let speech = speech()?;
    let (reference, questions) = (reference(&speech)?, asked(&speech)?);
    let asking = Asking { speech: &speech, max_new_tokens: 4, batch_size: 4 };
    let exam = Exam { questions: &questions, asking, interval: 0, stop_at: None };
    let examples: Vec<Example> = questions.iter().map(|one| one.example.clone()).collect();
    let mix = match mixed {
        true => {
            let examples = sft::tokenize(&examples, &speech, 24)?.examples;
            Some(PretrainingMix::new(examples, 0.5, 2, 3))
        }
        false => None,
    };
    let mut around = Surroundings { reference: &reference, speech: &speech, scorer, mix };
    let mut prompts = Prompts::new(questions.clone(), config.seed)?;
    let mut log = RunLog::new(config.schedule.total, learner.policy.state.step, 1)?;
    train(learner, &mut around, &mut prompts, (config, &exam), outputs, &mut log)?;
    Ok(-learner.policy.state.best.expect("it was looked at"))
}

fn bits(tuning: &Tuning) -> Result<Vec<Vec<f32>>> {
    tuning.parameters.iter().map(|p| Ok(p.var.flatten_all()?.to_vec1()?)).collect()
}

#[test]
fn what_scores_becomes_likely() -> Result<()> {
    let speech = speech()?;
    for trunk in [Trunk::Shared, Trunk::Separate] {
        let config = config(60, speech.end());
        let mut learner = learner(&speech, trunk, &config)?;
        let reached = run(&mut learner, &mut *letters(), &config, &Outputs::default(), false)?;
        assert!(reached > 0.9, "{trunk:?}: {reached}");
    }
    Ok(())
}

#[test]
fn a_run_in_pieces_arrives_where_a_run_in_one_does_bit_for_bit() -> Result<()> {
    let speech = speech()?;
    let config = config(5, speech.end());
    for trunk in [Trunk::Shared, Trunk::Separate] {
        let mut whole = learner(&speech, trunk, &config)?;
        run(&mut whole, &mut *crate::scorer::chance(), &config, &Outputs::default(), true)?;
        let folder = tempfile::tempdir()?;
        let checkpoints = Checkpoints::new(folder.path().join("checkpoints"), NonZeroUsize::MIN);
        let (ends, mut last) = (TextEnds::default(), None);
        for stop_after in [1, 3, 5] {
            let mut piece = learner(&speech, trunk, &config)?;
            if let Some((_, path)) = checkpoints.newest()? {
                assert!(piece.restore(&path, "other questions").is_err());
                piece.restore(&path, "these")?;
            }
            let keeper = Keeper { speech: &speech, ends: &ends, sampler: None, lora: None };
            let place = Place {
                folder: folder.path(),
                keeper: &keeper,
                checkpoints: checkpoints.clone(),
                interval: 0,
                data: "these",
            };
            let (interrupt, stop_after) = (Interrupt::default(), Some(stop_after));
            let outputs = Outputs { place: Some(place), interrupt, stop_after };
            run(&mut piece, &mut *crate::scorer::chance(), &config, &outputs, true)?;
            last = Some(piece);
        }
        let last = last.expect("the last piece");
        assert_eq!(bits(&whole.policy)?, bits(&last.policy)?, "{trunk:?}");
        assert_eq!(bits(&whole.critic)?, bits(&last.critic)?, "{trunk:?}");
        assert_eq!(whole.state, last.state);
        assert_ne!(whole.state.kl_price, 0.01, "the price adapted");
        let saved = Checkpoint::open(
            &folder.path().join("model").to_string_lossy(),
            modern::Purpose::Inference,
            &CPU,
        );
        assert!(saved.is_ok(), "the policy is a model folder without its critic");
    }
    Ok(())
}

#[test]
fn a_score_that_is_no_number_is_named_and_its_step_skipped() -> Result<()> {
    let speech = speech()?;
    let config = config(3, speech.end());
    let mut learner = learner(&speech, Trunk::Shared, &config)?;
    let before = bits(&learner.policy)?;
    let mut broken: Box<Scorer> = Box::new(|replies, _| Ok(vec![f64::NAN; replies.len()]));
    run(&mut learner, &mut *broken, &config, &Outputs::default(), false)?;
    assert_eq!((learner.policy.state.step, learner.state.updates), (3, 0));
    assert_eq!(bits(&learner.policy)?, before);
    let said = crate::experience::not_a_number(&[1., f64::NAN], &["a".into(), "b".into()]);
    assert!(said.is_some_and(|said| said.contains("1 of 2") && said.contains("\"b\"")));
    let mut short: Box<Scorer> = Box::new(|_, _| Ok(Vec::new()));
    assert!(
        run(
            &mut learner,
            &mut *short,
            &PpoConfig { schedule: Schedule { total: 4, ..config.schedule }, ..config },
            &Outputs::default(),
            false
        )
        .is_err()
    );
    Ok(())
}

fn pass<'a>(update: &'a UpdateConfig, config: &PpoConfig, rate: f64) -> Pass<'a> {
    Pass { config: update, temperature: config.rollout.temperature(), rates: [rate; 2], mix: None }
}

fn experience_of(learner: &mut Learner, speech: &Speech, config: &PpoConfig) -> Result<Experience> {
    let models = learner.models()?;
    let prompts: Vec<Vec<u32>> = asked(speech)?.into_iter().map(|one| one.prompt).collect();
    let groups = rollout(&models.writer, &prompts, &config.rollout, &mut Rng::new(1))?;
    let texts = crate::experience::texts(&groups, speech)?;
    let scores = (0..texts.len()).map(|i| f64::from(u8::from(i % 3 == 0))).collect();
    let both = (&config.rollout, &config.rewards);
    Experience::of(groups, (texts, scores), (&models, &reference(speech)?), both, (0.1, 2))
}

#[test]
fn ratios_are_1_on_the_first_pass_and_not_on_the_second() -> Result<()> {
    let speech = speech()?;
    let mut config = config(1, speech.end());
    config.rollout.sampler =
        modern::Sampler::new(modern::Choice::at(0.7, Some(20), Some(0.9), None));
    let mut learner = learner(&speech, Trunk::Shared, &config)?;
    let experience = experience_of(&mut learner, &speech, &config)?;
    assert!(experience.kl.abs() < 1e-4, "the reference is the policy: {}", experience.kl);
    let models = learner.models()?;
    let one = UpdateConfig { epochs: 1, mini_batches: 1, ..config.update };
    let mut again = || -> Result<crate::Updated> {
        let pass = pass(&one, &config, 2e-2);
        update(&mut learner, &models, &experience, pass, &mut Rng::new(2))
    };
    let first = again()?;
    assert!(first.first_ratio_error < 1e-4, "{}", first.first_ratio_error);
    assert_eq!((first.clip_fraction, first.updates), (0., 1));
    let second = again()?;
    assert!(second.first_ratio_error > 1e-2 && second.clip_fraction > 0., "{second:?}");
    // And the passes end once the policy has moved as far as it may.
    let bounded =
        UpdateConfig { epochs: 50, mini_batches: 1, target_kl: Some(0.05), ..config.update };
    let pass = pass(&bounded, &config, 1e-2);
    let found = update(&mut learner, &models, &experience, pass, &mut Rng::new(2))?;
    assert!(found.updates < 50 && found.approx_kl > 0.05, "{found:?}");
    Ok(())
}

#[test]
fn parts_of_a_mini_batch_add_up_to_it() -> Result<()> {
    let speech = speech()?;
    let config = config(1, speech.end());
    let mut reached = Vec::new();
    for accumulate in [1, 3] {
        let mut learner = learner(&speech, Trunk::Separate, &config)?;
        let experience = experience_of(&mut learner, &speech, &config)?;
        let models = learner.models()?;
        let parts = UpdateConfig { mini_batches: 1, accumulate, ..config.update };
        let (pass, rng) = (pass(&parts, &config, 1e-3), &mut Rng::new(2));
        let found = update(&mut learner, &models, &experience, pass, rng)?;
        reached.push((found, bits(&learner.policy)?, bits(&learner.critic)?));
    }
    let [(a, policy_a, critic_a), (b, policy_b, critic_b)] = &reached[..] else { unreachable!() };
    for (a, b) in
        [(a.policy_loss, b.policy_loss), (a.value_loss, b.value_loss), (a.entropy, b.entropy)]
    {
        assert!((a - b).abs() < 1e-5, "{a} {b}");
    }
    let near = |a: &[Vec<f32>], b: &[Vec<f32>]| {
        a.iter().flatten().zip(b.iter().flatten()).all(|(a, b)| (a - b).abs() < 1e-4)
    };
    assert!(near(policy_a, policy_b) && near(critic_a, critic_b));
    Ok(())
}

#[test]
fn cut_responses_lose_what_was_said_and_values_explain_what_they_explain() -> Result<()> {
    let speech = speech()?;
    let mut config = config(1, speech.end());
    config.rewards.discount = Discount { gamma: 1., lambda: 1. };
    let mut learner = learner(&speech, Trunk::Shared, &config)?;
    let free = experience_of(&mut learner, &speech, &config)?;
    config.rewards.cut_penalty = 2.;
    let mut dear = experience_of(&mut learner, &speech, &config)?;
    let responses = free.groups.iter().flat_map(|group| &group.responses);
    let lost = (&free.returns - &dear.returns)?.to_vec2::<f32>()?;
    for (response, lost) in responses.zip(lost) {
        let expected = if response.ended() { 0. } else { 2. };
        assert!((lost[0] - expected).abs() < 1e-5, "{lost:?} {response:?}");
    }
    assert!(dear.explained_variance()?.abs() < 1e-6, "a critic that says 0 explains nothing");
    dear.values = dear.returns.clone();
    assert!((dear.explained_variance()? - 1.).abs() < 1e-6);
    dear.values = Tensor::zeros_like(&dear.values)?;
    Ok(())
}

#[test]
fn alarms_name_the_cause_once() {
    let well = Signs {
        entropy: 1.,
        kl_per_token: 0.1,
        eos_rate: 0.9,
        first_ratio_error: 1e-6,
        scores_alike: false,
    };
    let mut alarms = Alarms::default();
    assert!(alarms.check(1, &well).is_empty());
    for (signs, says) in [
        (Signs { entropy: 0.001, ..well }, "entropy has collapsed"),
        (Signs { kl_per_token: 3., ..well }, "--kl-coef"),
        (Signs { eos_rate: 0.01, ..well }, "end themselves"),
        (Signs { first_ratio_error: 0.1, ..well }, "before the policy has moved"),
        (Signs { scores_alike: true, ..well }, "score the same"),
    ] {
        let said = alarms.check(2, &signs);
        assert!(said.len() == 1 && said[0].contains(says), "{said:?}");
        assert!(alarms.check(3, &signs).is_empty(), "it rings once");
        assert!(alarms.check(4, &well).is_empty());
    }
}
