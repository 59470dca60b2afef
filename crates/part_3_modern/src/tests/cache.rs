use candle_core::{DType, Module, Result, Tensor};
use model_io::config::LayerWindow;
use model_io::{ModelConfig, SlidingWindow};
use proptest::prelude::*;
use tensor_core::testing::assert_close;

use super::{fresh, ids, tiny, variants};
use crate::sliding_window::{cache_len, can_attend};
use crate::{Cache, GptModern, RollingCache};

/// Logits of `ids: (B, T)` computed with `cache` in chunks of the given sizes.
fn logits_in_chunks(
    model: &GptModern,
    ids: &Tensor,
    chunks: &[usize],
    mut cache: Cache,
) -> Result<(Tensor, Cache)> {
    let mut position = 0;
    let mut logits = Vec::new();
    for &chunk in chunks {
        let hidden = model
            .hidden_states_cached(&ids.narrow(1, position, chunk)?.contiguous()?, &mut cache)?;
        logits.push(model.logits(&hidden)?);
        position += chunk;
    }
    assert_eq!(position, ids.dim(1)?, "the chunks cover the text");
    Ok((Tensor::cat(&logits, 1)?, cache))
}

fn inference_model(config: &ModelConfig) -> Result<GptModern> {
    let (_, parameters) = fresh(config, DType::F64)?;
    GptModern::new(config, parameters.for_inference().root())
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 60, failure_persistence: None, ..ProptestConfig::default()
    })]

    /// The defining property of a cache.
    #[test]
    fn cached_logits_equal_those_of_the_whole_text_under_the_same_mask(
        chunks in prop::collection::vec(1usize..9, 1..7),
        kv in prop::sample::select(vec![1usize, 2, 4]),
        window in prop::option::of((1usize..7, 0usize..5)),
        b in 1usize..3,
        seed in 0u64..1000,
    ) {
        let window = window.map(|(size, sinks)| SlidingWindow { size, sinks });
        let mut config = tiny();
        config.attention.n_kv_head = kv;
        config.attention.window = window.map(LayerWindow::from);
        let model = inference_model(&config).unwrap();
        let t = chunks.iter().sum();
        let ids = ids(b, t, seed).unwrap();
        let uncached = model.forward(&ids).unwrap();
        let mut caches = vec![Cache::dynamic(2)];
        caches.extend(window.map(|window| Cache::rolling(2, window)));
        for cache in caches {
            let (logits, cache) = logits_in_chunks(&model, &ids, &chunks, cache).unwrap();
            assert_close(&logits, &uncached, 1e-9);
            prop_assert_eq!(cache.position(), t);
        }
    }
}

#[test]
fn every_variant_gives_the_same_logits_in_chunks() -> Result<()> {
    for (name, config) in variants() {
        let model = inference_model(&config)?;
        let ids = ids(2, 9, 3)?;
        println!("{name}");
        for cache in [Cache::dynamic(2), Cache::per_layer(&config)] {
            let (logits, _) = logits_in_chunks(&model, &ids, &[4, 1, 1, 3], cache)?;
            assert_close(&logits, &model.forward(&ids)?, 1e-9);
        }
    }
    Ok(())
}

#[test]
fn left_padding_does_not_change_logits() -> Result<()> {
    for (name, config) in variants() {
        let model = inference_model(&config)?;
        let long = ids(1, 7, 1)?;
        let short = ids(1, 4, 2)?;
        let padding = Tensor::new(&[[9u32, 9, 9]], &super::CPU)?;
        let padded = Tensor::cat(&[&padding, &short], 1)?;
        let batch = Tensor::cat(&[&long, &padded], 0)?;
        println!("{name}");
        if config.attention.sliding_window().is_some_and(|window| window.sinks > 0) {
            continue; // the sinks would be padding tokens
        }
        let cache = Cache::dynamic(2).with_padding(vec![0, 3])?;
        let (logits, _) = logits_in_chunks(&model, &batch, &[5, 1, 1], cache)?;
        assert_close(&logits.narrow(0, 0, 1)?, &model.forward(&long)?, 1e-9);
        let short_logits = logits.narrow(0, 1, 1)?.narrow(1, 3, 4)?;
        assert_close(&short_logits, &model.forward(&short)?, 1e-9);
    }
    Ok(())
}

#[test]
fn a_rolling_cache_never_grows() -> Result<()> {
    let window = SlidingWindow { size: 4, sinks: 2 };
    let model = inference_model(&tiny())?;
    let mut cache = Cache::rolling(2, window);
    let ids = ids(1, 200, 5)?; // the context is 64
    let mut bytes = None;
    for i in 0..200 {
        model.hidden_states_cached(&ids.narrow(1, i, 1)?, &mut cache)?;
        assert_eq!(*bytes.get_or_insert(cache.size_in_bytes()), cache.size_in_bytes());
    }
    // 2 layers · (keys and values) · 6 tokens · 2 key heads · 4 channels · 8 bytes.
    assert_eq!(bytes, Some(2 * 2 * 6 * 2 * 4 * 8));
    Ok(())
}

/// Memory for 4,096 tokens is allocated at once, more only as the text grows.
#[test]
fn the_memory_of_a_wide_window_grows_with_the_text() -> Result<()> {
    let window = SlidingWindow { size: 5000, sinks: 3 };
    let mut cache = RollingCache::new(window);
    let mut len = 0;
    for t in [10, 1, 4085, 1, 300, 1, 500, 1, 2000, 1, 6000, 1] {
        // Token i's key is i.
        let new =
            Tensor::arange(len as f32, (len + t) as f32, &super::CPU)?.reshape((1, t, 1, 1))?;
        let [keys, values] = cache.extend([&new, &new])?;
        len += t;
        if t > 1 {
            continue; // the result also has the keys stored before
        }
        let mut keys: Vec<f32> = keys.flatten_all()?.to_vec1()?;
        keys.sort_unstable_by(f32::total_cmp);
        let visible = (0..len).filter(|&key| can_attend(window, len - 1, key));
        assert!(keys.iter().copied().eq(visible.map(|key| key as f32)), "after {len} tokens");
        assert_eq!(values.dims(), [1, keys.len(), 1, 1]);
        assert!(
            cache.size_in_bytes()
                <= 2 * 4 * cache_len(window).min(len.next_power_of_two().max(4096))
        );
    }
    let mut unbounded = RollingCache::new(SlidingWindow { size: usize::MAX, sinks: 3 });
    for t in [5, 1, 5, 1] {
        let new = Tensor::zeros((1, t, 1, 1), DType::F32, &super::CPU)?;
        unbounded.extend([&new, &new])?;
    }
    assert_eq!(unbounded.len(), 12);
    Ok(())
}

#[test]
fn a_text_longer_than_the_context_is_refused() -> Result<()> {
    let model = inference_model(&tiny())?;
    let mut cache = Cache::dynamic(2);
    model.hidden_states_cached(&ids(1, 60, 5)?, &mut cache)?;
    let error =
        model.hidden_states_cached(&ids(1, 5, 5)?, &mut cache).expect_err("65 tokens").to_string();
    assert!(error.contains("65 tokens") && error.contains("64"), "{error}");
    model.hidden_states_cached(&ids(1, 4, 5)?, &mut cache)?;
    Ok(())
}

#[test]
fn a_cache_can_be_truncated_to_any_earlier_token() -> Result<()> {
    let model = inference_model(&tiny())?;
    let ids = ids(1, 12, 5)?;
    let mut cache = Cache::dynamic(2);
    model.hidden_states_cached(&super::ids(1, 9, 77)?, &mut cache)?;
    cache.truncate(0);
    model.hidden_states_cached(&ids, &mut cache)?;
    cache.truncate(5);
    let hidden = model.hidden_states_cached(&ids.narrow(1, 5, 7)?, &mut cache)?;
    assert_close(&model.logits(&hidden)?, &model.forward(&ids)?.narrow(1, 5, 7)?, 1e-9);
    Ok(())
}

/// Phi-3's frequencies change after 16 tokens.
#[test]
fn keys_with_the_frequencies_of_a_longer_text_are_dropped_with_its_end() -> Result<()> {
    let (_, config) = variants().into_iter().find(|(name, _)| *name == "phi3").expect("phi3");
    let model = inference_model(&config)?;
    let text = ids(1, 20, 5)?;
    for (n, len, left) in [(20, 11, 0), (20, 16, 0), (20, 17, 17), (16, 11, 11), (12, 11, 11)] {
        let mut cache = Cache::dynamic(2);
        model.hidden_states_cached(&text.narrow(1, 0, n)?, &mut cache)?;
        let mut cache = cache.repeat_interleave(1)?;
        cache.truncate(len);
        assert_eq!(cache.position(), left, "{len} of {n} tokens");
        let end = if len > 16 { 20 } else { 12 };
        let text = text.narrow(1, 0, end)?;
        let hidden = model.hidden_states_cached(&text.narrow(1, left, end - left)?, &mut cache)?;
        let expected = model.forward(&text)?.narrow(1, left, end - left)?;
        assert_close(&model.logits(&hidden)?, &expected, 1e-9);
    }
    Ok(())
}

#[test]
fn a_rolling_cache_is_truncated_while_it_has_all_tokens() -> Result<()> {
    let window = SlidingWindow { size: 4, sinks: 2 };
    let mut config = tiny();
    config.attention.window = Some(window.into());
    let mut mixed = config;
    mixed.attention.window = Some(LayerWindow {
        full_attention_interval: Some(2),
        ..SlidingWindow { sinks: 0, ..window }.into()
    });
    let [text, other] = [ids(1, 12, 5)?, ids(1, 12, 77)?];
    let [text, other] = [text.flatten_all()?.to_vec1::<u32>()?, other.flatten_all()?.to_vec1()?];
    let tensor = |ids: &[u32]| Tensor::new(ids, &super::CPU)?.unsqueeze(0); // (1, T)
    for (config, n_stored) in [(config, 6), (mixed, 4)] {
        let model = inference_model(&config)?;
        let whole = model.forward(&tensor(&text)?)?;
        for (n, len) in [(n_stored, 3), (n_stored, 0), (3, 2), (n_stored + 1, 3)] {
            let mut cache = Cache::per_layer(&config);
            let before = [&text[..len], &other[len..n]].concat();
            model.hidden_states_cached(&tensor(&before)?, &mut cache)?;
            cache.truncate(len);
            let left = if n > n_stored { 0 } else { len };
            assert_eq!(cache.position(), left, "{len} of {n} tokens");
            let hidden = model.hidden_states_cached(&tensor(&text[left..])?, &mut cache)?;
            let logits = model.logits(&hidden)?;
            assert_close(&logits, &whole.narrow(1, left, 12 - left)?, 1e-9);
        }
    }
    Ok(())
}
