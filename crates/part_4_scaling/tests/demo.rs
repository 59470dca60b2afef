//! End-to-end tests of the program: the demo, the command `tokenizer`, and messages about bad
//! input.

use std::path::Path;

use tensor_core::testing::{Program, path_arg};

const PART_4: Program = Program(env!("CARGO_BIN_EXE_part_4"));

#[test]
fn the_demo_shows_merges_exact_gradients_and_an_exact_resume() {
    let text = PART_4.stdout(&["--vocab-size", "600"]);
    assert!(text.contains("The first merges") && text.contains("the same ids"), "{text}");
    assert!(text.contains("35 more: the same bytes of model, optimizer and state"), "{text}");
    let relative_difference = |label: &str| -> f64 {
        let line = text.lines().find(|line| line.contains(label)).expect("a line");
        line.split_whitespace().next_back().expect("a number").parse().expect("a number")
    };
    assert!(relative_difference("weighted by token counts") < 1e-5, "{text}");
    assert!(relative_difference("mean of the means") > 0.1, "{text}");
}

#[test]
fn tokenizer_trains_on_a_folder_and_reports_the_actual_size() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let (data, out) = (path_arg(folder.path(), "texts"), path_arg(folder.path(), "new/tokenizer"));
    std::fs::create_dir_all(path_arg(folder.path(), "texts/more")).expect("a folder");
    for file in ["texts/a.txt", "texts/more/b.txt"] {
        std::fs::write(path_arg(folder.path(), file), "the cat sat on the mat. ").expect("a text");
    }
    let args = ["tokenizer", "--data", &data, "--vocab-size", "8000", "--out", &out, "--json"];
    let report = PART_4.stdout_json(&args);
    let tokenizer = model_io::Tokenizer::open(Path::new(&out)).expect("a tokenizer");
    assert_eq!(report["vocab_size"], tokenizer.vocab_size());
    assert!(tokenizer.vocab_size() > 261 && tokenizer.vocab_size() < 290, "{report}");
    assert!(report["bytes_per_token"].as_f64().is_some_and(|ratio| ratio > 3.), "{report}");
    let mut files: Vec<String> = std::fs::read_dir(&out)
        .expect("a folder")
        .map(|entry| entry.expect("an entry").file_name().to_string_lossy().into_owned())
        .collect();
    files.sort();
    assert_eq!(files, ["tokenizer.json", "tokenizer_config.json"]);
    let text = PART_4.stdout(&["tokenizer", "--data", &data, "--out", &out]);
    assert!(text.contains("(at most 32000)"), "{text}");
}

#[test]
fn bad_input_is_refused_in_one_line_without_writing_anything() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let file = |name: &str, bytes: &[u8]| {
        std::fs::write(folder.path().join(name), bytes).expect("a file");
        path_arg(folder.path(), name)
    };
    let out = path_arg(folder.path(), "out");
    let good = file("good.txt", b"a text");
    let refuses = |data: &str, code, text: &str| {
        PART_4.assert_fails(&["tokenizer", "--data", data, "--out", &out], code, text);
    };
    refuses(&file("empty.txt", b""), 1, "empty.txt is empty");
    refuses(
        &file("latin1.txt", b"caf\xe9 au lait"),
        1,
        "latin1.txt is not UTF-8: invalid byte at 3",
    );
    refuses(&file("cut.txt", b"caf\xc3"), 1, "byte at 3");
    refuses(&path_arg(folder.path(), "none.txt"), 1, "none.txt");
    std::fs::create_dir(folder.path().join("bare")).expect("a folder");
    refuses(&path_arg(folder.path(), "bare"), 1, "no .txt files in");
    for size in ["0", "260", "1048577", "18446744073709551615"] {
        let args = ["tokenizer", "--data", &good, "--out", &out, "--vocab-size", size];
        PART_4.assert_fails(&args, 2, "must be at least 261");
        PART_4.assert_fails(&["--vocab-size", size], 2, "must be at least 261");
    }
    PART_4.assert_fails(
        &["tokenizer", "--data", &good, "--vocab-size", "many"],
        2,
        "invalid value 'many'",
    );
    PART_4.assert_fails(&["tokenizer"], 2, "--data");
    PART_4.assert_fails(&["--data", &file("spaces.txt", b" \n ")], 1, "spaces.txt is empty");
    assert!(!Path::new(&out).exists());
    let args = ["tokenizer", "--data", &good, "--out", &path_arg(folder.path(), "good.txt/out")];
    PART_4.assert_fails(&args, 1, "good.txt/out");
}
