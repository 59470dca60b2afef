//! 8.5: a language model as a judge.

use anyhow::Result;
use candle_core::{DType, Tensor};
use clap::{Args, Command, FromArgMatches};
use datasets::Example;
use model_io::config::LmHead;
use model_io::{ChatMessage, ChatVariables, ModelConfig};
use modern::{FinishReason, GptModern};
use ranks::in_threads;
use tensor_core::{Parameters, Rng};

use super::CPU;
use super::small_run::{chat_tokenizer, model_config, prompt_examples};
use crate::flags::JudgeFlags;
use crate::judge::{LlmJudge, fill, parse_score};
use crate::rollout_group::SampledCompletion;
use crate::scoring_counter::ScoringCounts;
use crate::{
    PromptExample, RewardInput, RolloutGroup, RunInputs, ScoredRollouts, Scoring, ScoringCounter,
};

#[test]
fn the_last_score_of_a_reply_counts() {
    for (reply, score) in [
        ("Score: 7", Some(7.)),
        ("score = 7.5", Some(7.5)),
        ("**Score:** 10 / 10", Some(10.)),
        ("Score: 3, no: it is right.\nScore: 9", Some(9.)),
        ("Score: 0", Some(0.)),
        ("<think>Is it Score: 2?</think>\n\nScore: 9", Some(9.)),
        ("<think>Score: 2, surely.</think>\n\nIt is fine.", None),
        ("Score: -1", None),
        ("Score: 11", None),
        ("Scores 7", None),
        ("7", None),
        ("", None),
    ] {
        assert_eq!(parse_score(reply), score, "{reply}");
    }
}

/// Judge whose model continues the last token of every question with `reply`, and then stops: its
/// layers add nothing to the embedding of the last token, from which the output layer reads the
/// next one.
fn judge_that_says(reply: &str) -> Result<LlmJudge> {
    judge_of(reply, "{prompt} {completion}?")
}

/// Like [`judge_that_says`], with this question.
fn judge_of(reply: &str, question: &str) -> Result<LlmJudge> {
    let chat_tokenizer = chat_tokenizer()?;
    let config =
        ModelConfig { context_len: 64, lm_head: LmHead::Untied, ..model_config(&chat_tokenizer) };
    let mut parameters = Parameters::seeded(1, DType::F32, &CPU);
    GptModern::new(&config, parameters.root())?;
    let mut tokens = chat_tokenizer.encode_prompt(&[ChatMessage::user("1?")])?;
    tokens.drain(..tokens.len() - 1);
    tokens.extend(chat_tokenizer.encode_completion_without_eos(reply)?);
    tokens.push(chat_tokenizer.eos_token_id());
    let (v, c) = (config.vocab_size, config.n_embd);
    let [mut embedding, mut head] = [vec![0f32; v * c], vec![0f32; v * c]];
    for (i, pair) in tokens.windows(2).enumerate() {
        assert!(i < c && !tokens[..i].contains(&pair[0]), "one channel per token of the reply");
        embedding[pair[0] as usize * c + i] = 1.;
        head[pair[1] as usize * c + i] = 1.;
    }
    for parameter in parameters.iter() {
        let var = &parameter.var;
        match parameter.name.as_str() {
            "model.embed_tokens.weight" => {
                var.set(&Tensor::from_slice(&embedding, (v, c), &CPU)?)?
            }
            "lm_head.weight" => var.set(&Tensor::from_slice(&head, (v, c), &CPU)?)?,
            name if name.contains("norm") => {}
            _ => var.set(&var.zeros_like()?)?,
        }
    }
    let model = GptModern::new(&config, parameters.for_inference().root())?;
    LlmJudge::new(model, chat_tokenizer, question.into(), "weights")
}

#[test]
fn a_judge_rewards_a_completion_by_the_score_in_its_reply() -> Result<()> {
    let example = Example::new("1 + 2", "3");
    let input = |completion| RewardInput {
        example: &example,
        completion,
        finish_reason: FinishReason::Stop,
    };
    let inputs = [input("3"), input("4")];
    let mut judge = judge_that_says("Score: 7")?.reward_fn(ScoringCounter::default());
    assert_eq!((judge.reward_fn)(&inputs, &mut Rng::new(1))?, [0.7, 0.7]);
    assert_eq!(judge.parts.0.borrow()[0].notes, ["", ""]);
    let mut terse = judge_that_says("Score 1x")?.reward_fn(ScoringCounter::default()).reward_fn;
    assert_eq!(terse(&inputs, &mut Rng::new(1))?, [0.1, 0.1]);
    let mut silent = judge_that_says("fine")?.reward_fn(ScoringCounter::default()).reward_fn;
    let error = silent(&inputs, &mut Rng::new(1)).expect_err("no score").to_string();
    let expected = "the judge gave none of 2 completions a score; it replied \"";
    assert!(error.starts_with(expected), "{error}");
    let long = "3".repeat(80);
    let counter = ScoringCounter::default();
    let mut judge = judge_that_says("Score: 7")?.reward_fn(counter.clone());
    let rewards = (judge.reward_fn)(&[input(&long), input("3")], &mut Rng::new(1))?;
    assert_eq!(rewards, [0., 0.7], "the run goes on");
    let counts = counter.counts();
    assert_eq!((counts.n_read, counts.n_truncated), (2, 1));
    assert!(judge.parts.0.borrow()[0].notes[0].contains("longer than the judge's context"));
    assert_eq!((judge.reward_fn)(&[input(&long)], &mut Rng::new(1))?, [0.]);
    Ok(())
}

#[test]
fn a_scoring_has_what_its_reward_function_leaves_for_the_log() -> Result<()> {
    let (chat_tokenizer, example) = (chat_tokenizer()?, Example::new("1 + 2", "3"));
    let counter = ScoringCounter::default();
    let mut judge = judge_that_says("Score: 7")?.reward_fn(counter.clone());
    let scoring = &mut Scoring::new(&chat_tokenizer, &mut judge);
    assert_eq!(scoring.max_reward, Some(1.));
    let input =
        RewardInput { example: &example, completion: "3", finish_reason: FinishReason::Stop };
    (scoring.reward_fn)(&[input], &mut Rng::new(1))?;
    assert_eq!(scoring.parts.0.borrow()[0].rewards, [0.7]);
    assert_eq!((scoring.counter.counts().n_replies, counter.counts().n_replies), (1, 1));
    Ok(())
}

/// Rewards of six completions on each of two ranks, which score three each, with judges that say
/// `replies`.
fn rewards_on_ranks(replies: [&str; 2]) -> Vec<Result<Vec<f64>>> {
    in_threads(2, |ranks| {
        let chat_tokenizer = chat_tokenizer()?;
        let mut judge =
            judge_that_says(replies[ranks.rank()])?.reward_fn(ScoringCounter::default());
        let prompts = prompt_examples(&chat_tokenizer)?;
        let mut tokens = chat_tokenizer.encode_completion_without_eos("3")?;
        tokens.push(chat_tokenizer.eos_token_id());
        let group = |PromptExample { prompt, .. }: &PromptExample| RolloutGroup {
            prompt: prompt.clone(),
            completions: vec![SampledCompletion {
                log_probs: vec![0.; tokens.len()],
                tokens: tokens.clone(),
                allowed_tokens: Vec::new(),
                finish_reason: FinishReason::Stop,
            }],
        };
        let groups = prompts[ranks.rows(prompts.len())].iter().map(group).collect();
        let scoring = &mut Scoring::new(&chat_tokenizer, &mut judge);
        let rng = &mut Rng::new(1);
        let rewards = ScoredRollouts::of_all_ranks(groups, &prompts, scoring, &ranks, rng)?.rewards;
        // Each rank has what the first one logs: all notes and counts.
        let part = scoring.parts.0.borrow()[0].clone();
        let without_note: Vec<bool> = part.notes.iter().map(String::is_empty).collect();
        let is_scored: Vec<bool> = rewards.iter().map(|reward| *reward > 0.).collect();
        let counts = scoring.counter.counts();
        let n_scored = is_scored.iter().filter(|is_scored| **is_scored).count();
        assert_eq!((counts.n_read, counts.n_replies - counts.n_without_score), (6, n_scored));
        assert_eq!((&part.rewards, without_note), (&rewards, is_scored));
        Ok(rewards)
    })
}

#[test]
fn ranks_decide_together_whether_a_judge_gives_scores() {
    for (replies, rewards) in [
        (["Score: 7", "fine"], [0.7, 0.7, 0.7, 0., 0., 0.]),
        (["fine", "Score: 7"], [0., 0., 0., 0.7, 0.7, 0.7]),
    ] {
        for of_rank in rewards_on_ranks(replies) {
            assert_eq!(of_rank.expect("a rank has scores"), rewards);
        }
    }
    for of_rank in rewards_on_ranks(["fine", "fine"]) {
        let error = of_rank.expect_err("no score").to_string();
        assert!(error.starts_with("the judge gave none of 3 completions a score"), "{error}");
    }
}

#[test]
fn a_reply_that_was_cut_has_no_score() -> Result<()> {
    let example = Example::new("1 + 2", "3");
    let input =
        RewardInput { example: &example, completion: "3", finish_reason: FinishReason::Stop };
    let (tokenizer, reply) = (chat_tokenizer()?, "Score: 7");
    let prompt_len = |completion: &str| -> Result<usize> {
        Ok(tokenizer.encode_prompt(&[ChatMessage::user(format!("1 + 2 {completion}?"))])?.len())
    };
    // The reply fills the context of 64 tokens, and the stop token after it is missing.
    let room = 65 - tokenizer.encode_completion_without_eos(reply)?.len();
    let mut long = "3".to_string();
    while prompt_len(&long)? < room {
        long.push('3');
    }
    assert_eq!(prompt_len(&long)?, room, "a digit is a token");
    let cut = RewardInput { completion: &long, ..input };
    let counter = ScoringCounter::default();
    let mut judge = judge_that_says(reply)?.reward_fn(counter.clone());
    let inputs = [cut, input];
    assert_eq!((judge.reward_fn)(&inputs, &mut Rng::new(1))?, [0., 0.7]);
    let notes = judge.parts.0.borrow()[0].notes.clone();
    assert!(notes[0].contains("cut at its length limit") && notes[1].is_empty(), "{notes:?}");
    let counts = counter.counts();
    assert_eq!((counts.n_truncated, counts.n_replies, counts.n_without_score), (0, 2, 1));
    let alarms = counts.alarms();
    assert!(alarms.len() == 1 && alarms[0].cause == "judge_without_score", "{alarms:?}");
    assert_eq!(counter.counts().messages().len(), 1);
    let few = ScoringCounts { n_read: 10, n_replies: 10, n_without_score: 1, ..counts };
    assert!(few.alarms().is_empty(), "a tenth is not more than a tenth");
    Ok(())
}

#[test]
fn a_question_about_the_answer_needs_rows_with_answers() -> Result<()> {
    let judge = judge_of("Score: 7", "{answer} {completion}?")?;
    let example = Example::new("1 + 2", " ");
    let input =
        RewardInput { example: &example, completion: "3", finish_reason: FinishReason::Stop };
    let mut reward_fn = judge.reward_fn(ScoringCounter::default()).reward_fn;
    let error = reward_fn(&[input], &mut Rng::new(1)).expect_err("no answer").to_string();
    assert!(error.contains("shows the {answer}, and the row of the prompt \"1 + 2\""), "{error}");
    Ok(())
}

#[test]
fn a_question_shows_the_prompt_the_completion_and_the_answer_once() {
    let conversation = vec![ChatMessage::system("Be brief."), ChatMessage::user("1 + 2?")];
    let example = Example { prompt: conversation, ..Example::new("", "3") };
    let completion = "It is {answer}. {prompt}";
    let input = RewardInput { example: &example, completion, finish_reason: FinishReason::Stop };
    let filled = fill("[{prompt}] [{completion}] [{answer}] {other}", &input);
    assert_eq!(
        filled, "[system: Be brief.\nuser: 1 + 2?] [It is {answer}. {prompt}] [3] {other}",
        "a completion cannot ask for the answer"
    );
}

#[test]
fn a_run_records_the_arguments_of_the_judges_chat_template_as_a_flag() -> Result<()> {
    let parse = |args: &[&str]| -> Result<JudgeFlags> {
        let command = JudgeFlags::augment_args(Command::new("test"));
        let matches = command.try_get_matches_from([&["test"], args].concat())?;
        Ok(JudgeFlags::from_arg_matches(&matches)?)
    };
    let model = ["--judge-model", "m", "--judge-template-arg"];
    let flags = parse(&[&model[..], &["enable_thinking=false"]].concat())?;
    let settings = serde_json::to_value(&flags)?;
    let recorded = settings["judge_template_arg"].as_str().expect("a text");
    assert_eq!(recorded, r#"{"enable_thinking":false}"#);
    let again = parse(&[&model[..], &[recorded]].concat())?;
    assert_eq!(again.judge_template_arg, flags.judge_template_arg);
    assert!(parse(&["--judge-template-arg", "a=1"]).is_err(), "there is no judge");
    Ok(())
}

#[test]
fn a_judge_needs_a_question_about_the_completion() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("judge.txt");
    std::fs::write(&file, "Is it good?")?;
    let none = ChatVariables::default;
    let error = LlmJudge::open("no-such-model", Some(&file), none(), &CPU).err().expect("refused");
    assert!(error.to_string().contains("(--judge-prompt) does not contain {completion}"));
    let error = LlmJudge::open("no-such-model", None, none(), &CPU).err().expect("refused");
    assert!(format!("{error:#}").contains("no-such-model"), "{error:#}");
    let missing = LlmJudge::open("no-such-model", Some(&folder.path().join("none")), none(), &CPU);
    assert!(format!("{:#}", missing.err().expect("refused")).contains("none"));
    Ok(())
}

/// Earlier versions hashed the norms of a quantized judge alone.
#[test]
fn a_run_with_another_judge_is_told_of_those_that_earlier_versions_did_not_record() {
    let inputs = |reward_fn: &str| RunInputs { reward_fn: reward_fn.into(), ..Default::default() };
    let judge = inputs("judge weights question");
    assert!(judge.ensure_same_as(&judge.clone()).is_ok());
    let refused = |run: &RunInputs| {
        run.ensure_same_as(&inputs("judge others question")).expect_err("another").to_string()
    };
    assert!(refused(&judge).contains("an earlier version, which did not record its quantized"));
    assert!(refused(&inputs("exact")).ends_with("than --reward names now"));
}
