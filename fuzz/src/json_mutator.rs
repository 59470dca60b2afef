//! Mutations of JSON documents. Bytes alone would mostly give syntax errors.

use std::sync::OnceLock;

use libfuzzer_sys::fuzzer_mutate;
use serde_json::{Map, Number, Value, json};
use tensor_core::Rng;

use crate::dictionary::words;
use crate::jinja_grammar;

/// Longest text that libFuzzer mutates as bytes.
const MAX_TEXT_BYTES: usize = 1 << 12;
/// Mutations of one input.
const MAX_MUTATIONS: usize = 4;
/// Words of the dictionary of this process's target.
static WORDS: OnceLock<Vec<String>> = OnceLock::new();

/// Mutates the document in `data[..size]` and returns its new size, at most `max_size`.
pub fn mutate(data: &mut [u8], size: usize, max_size: usize, seed: u32, dictionary: &str) -> usize {
    let Ok(mut document) = serde_json::from_slice::<Value>(&data[..size]) else {
        return write(&json!({}), data, max_size).unwrap_or(0);
    };
    let mut rng = Rng::new(u64::from(seed));
    let words = WORDS.get_or_init(|| words(dictionary));
    for _ in 0..1 + rng.below(MAX_MUTATIONS) {
        let donor = pick(&mut document, &mut rng).clone();
        change(pick(&mut document, &mut rng), donor, words, &mut rng);
    }
    write(&document, data, max_size).unwrap_or(size)
}

/// Replaces a part of the document `a` by one of `b`, and writes the result to `out`.
pub fn cross_over(a: &[u8], b: &[u8], out: &mut [u8], seed: u32) -> usize {
    let mut rng = Rng::new(u64::from(seed));
    let documents = [a, b].map(|bytes| serde_json::from_slice::<Value>(bytes).ok());
    let [Some(mut a), Some(mut b)] = documents else { return 0 };
    let donor = pick(&mut b, &mut rng).take();
    match (pick(&mut a, &mut rng), donor) {
        (Value::Object(map), Value::Object(other)) => map.extend(other),
        (Value::Array(list), donor) if rng.below(2) == 0 => list.push(donor),
        (node, donor) => *node = donor,
    }
    let max_size = out.len();
    write(&a, out, max_size).unwrap_or(0)
}

fn write(document: &Value, data: &mut [u8], max_size: usize) -> Option<usize> {
    let text = document.to_string();
    let fits = text.len() <= max_size.min(data.len());
    fits.then(|| {
        data[..text.len()].copy_from_slice(text.as_bytes());
        text.len()
    })
}

/// Random node, by a walk from the root that ends at each level with a probability of a quarter:
/// the settings of a tokenizer are as likely as the many tokens of its vocabulary.
fn pick<'a>(node: &'a mut Value, rng: &mut Rng) -> &'a mut Value {
    let len = match node {
        Value::Array(list) => list.len(),
        Value::Object(map) => map.len(),
        _ => 0,
    };
    if len == 0 || rng.below(4) == 0 {
        return node;
    }
    let child = rng.below(len);
    let child = match node {
        Value::Array(list) => &mut list[child],
        Value::Object(map) => map.values_mut().nth(child).expect("there are `len`"),
        _ => unreachable!("it has children"),
    };
    pick(child, rng)
}

/// Changes a node; `donor` is another node of the document.
fn change(node: &mut Value, donor: Value, words: &[String], rng: &mut Rng) {
    match (node, rng.below(8)) {
        (node, 0) => *node = donor,
        (node, 1) => *node = any_value(words, rng),
        (Value::Number(number), _) => change_number(number, rng),
        (Value::String(text), _) => change_text(text, words, rng),
        (Value::Array(list), _) => change_list(list, donor, words, rng),
        (Value::Object(map), _) => change_map(map, donor, words, rng),
        (Value::Bool(flag), _) => *flag = !*flag,
        (node, _) => *node = any_value(words, rng),
    }
}

fn any_value(words: &[String], rng: &mut Rng) -> Value {
    match rng.below(8) {
        0 => Value::Null,
        1 => json!(true),
        2 => json!(false),
        3 => json!([]),
        4 => json!({}),
        5 => Value::Number(edge(rng)),
        _ => json!(word(words, rng)),
    }
}

fn word(words: &[String], rng: &mut Rng) -> String {
    if words.is_empty() { String::new() } else { words[rng.below(words.len())].clone() }
}

/// Numbers at which sizes, widths and signs change.
fn edge(rng: &mut Rng) -> Number {
    let float = |x: f64| Number::from_f64(x).expect("it is finite");
    match rng.below(5) {
        0 => Number::from(rng.below(20)),
        1 => Number::from((1u64 << rng.below(64)) - rng.below(2) as u64),
        2 => Number::from(-(1i64 << rng.below(62))),
        3 => float([0.5, -0.5, 1e-320, 1e308, -1e308, 1e20, -0., 0.1][rng.below(8)]),
        _ => Number::from([0, 1, 2, 31, 32, 255, 256, u64::MAX][rng.below(8)]),
    }
}

fn change_number(number: &mut Number, rng: &mut Rng) {
    let changed = match (number.as_i64(), rng.below(6)) {
        (Some(n), 0) => Number::from(n.wrapping_add(1)),
        (Some(n), 1) => Number::from(n.wrapping_sub(1)),
        (Some(n), 2) => Number::from(n.wrapping_mul(2)),
        (Some(n), 3) => Number::from(n / 2),
        (Some(n), 4) => Number::from(n.wrapping_neg()),
        _ => edge(rng),
    };
    *number = changed;
}

fn change_text(text: &mut String, words: &[String], rng: &mut Rng) {
    let at = text.floor_char_boundary(rng.below(text.len() + 1));
    match rng.below(8) {
        0 => *text = word(words, rng),
        1 => text.insert_str(at, &word(words, rng)),
        2 => text.truncate(at),
        3 if text.len() < MAX_TEXT_BYTES => text.push_str(&text.clone()),
        4 => text.insert_str(at, &jinja_grammar::template(rng)),
        5 => *text = jinja_grammar::template(rng),
        _ => {
            // libFuzzer's own mutations, with its dictionary and the operands of comparisons.
            let mut bytes = text.clone().into_bytes();
            let size = bytes.len().min(MAX_TEXT_BYTES);
            bytes.resize(size + 64, 0);
            let max_size = bytes.len();
            let size = fuzzer_mutate(&mut bytes, size, max_size);
            *text = String::from_utf8_lossy(&bytes[..size]).into_owned();
        }
    }
}

fn change_list(list: &mut Vec<Value>, donor: Value, words: &[String], rng: &mut Rng) {
    let n = list.len();
    match rng.below(6) {
        0 if n > 0 => _ = list.remove(rng.below(n)),
        1 if n > 1 => list.swap(rng.below(n), rng.below(n)),
        2 if n > 0 => list.push(list[rng.below(n)].clone()),
        3 if n > 0 && n < 64 => list.extend(list.clone()),
        4 => list.insert(rng.below(n + 1), donor),
        _ => list.insert(rng.below(n + 1), any_value(words, rng)),
    }
}

fn change_map(map: &mut Map<String, Value>, donor: Value, words: &[String], rng: &mut Rng) {
    let key = |map: &Map<String, Value>, rng: &mut Rng| {
        let at = rng.below(map.len().max(1));
        map.keys().nth(at).cloned().unwrap_or_default()
    };
    let own = key(map, rng);
    match rng.below(6) {
        0 => _ = map.remove(&own),
        1 => {
            let value = map.remove(&own).unwrap_or(donor);
            map.insert(word(words, rng), value);
        }
        2 => {
            let other = map.get(&key(map, rng)).cloned().unwrap_or_default();
            map.insert(own, other);
        }
        3 => _ = map.insert(own + &rng.below(4).to_string(), donor),
        4 => _ = map.insert(word(words, rng), donor),
        _ => _ = map.insert(word(words, rng), any_value(words, rng)),
    }
}
