use std::path::Path;

use anyhow::Result;
use candle_core::quantized::{GgmlDType, QStorage, QTensor};
use candle_core::{DType, Device, Tensor};
use tensor_core::quantized::{Quantization, QuantizedMatrix};
use tensor_core::testing::{assert_close, course_data};

use super::error;
use super::writer::{Writer, array, string};
use crate::GgufTokenizer;
use crate::config::{RopeScaling, YarnScaling};
use crate::gguf::{Gguf, MetadataArray, MetadataValue, TensorFormat, check_header};
use crate::gguf_rope::rope_scaling;

/// Small file with one value of each type and one tensor of each format.
pub(super) fn sample() -> Writer {
    let tokens = ["a", "", "é"].map(string);
    let writer = Writer::new()
        .value("general.architecture", 8, string("llama"))
        .value("u8", 0, [200])
        .value("i8", 1, (-3i8).to_le_bytes())
        .value("u16", 2, 60_000u16.to_le_bytes())
        .value("i16", 3, (-300i16).to_le_bytes())
        .value("llama.block_count", 4, 30u32.to_le_bytes())
        .value("i32", 5, (-70_000i32).to_le_bytes())
        .value("llama.rope.freq_base", 6, 1e5f32.to_le_bytes())
        .value("add_bos", 7, [1])
        .value("tokens", 9, array(8, &tokens))
        .value("types", 9, array(5, &[1i32, -6].map(|x| x.to_le_bytes().to_vec())))
        .value("nested", 9, array(9, &[array(7, &[vec![0], vec![1]]), array(0, &[])]))
        .value("u64", 10, (1u64 << 40).to_le_bytes())
        .value("i64", 11, (-1i64 << 40).to_le_bytes())
        .value("f64", 12, 0.1f64.to_le_bytes());
    let sizes = TensorFormat::ALL.into_iter().enumerate();
    sizes.fold(writer, |writer, (i, format)| {
        writer.tensor(&format!("t.{format}"), &[2, 1 + i as u64, 256], format)
    })
}

/// Opens `bytes` as a GGUF file.
pub(super) fn open(bytes: &[u8]) -> Result<Gguf> {
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("model.gguf");
    std::fs::write(&path, bytes)?;
    Gguf::open(&path)
}

/// Error message of a file that must be refused.
pub(super) fn refused(writer: &Writer) -> String {
    error(open(&writer.file()))
}

#[test]
fn every_metadata_type_is_read_back() -> Result<()> {
    let gguf = open(&sample().file())?;
    assert_eq!(gguf.get_str("general.architecture")?, "llama");
    assert_eq!(gguf.get_usize("llama.block_count")?, 30);
    assert_eq!(
        (gguf.get_usize("u8")?, gguf.get_usize("u16")?, gguf.get_usize("u64")?),
        (200, 60_000, 1 << 40)
    );
    assert_eq!(gguf.get_f64("llama.rope.freq_base")?, 1e5);
    assert_eq!((gguf.get_f64("i8")?, gguf.get_f64("i16")?), (-3., -300.));
    assert_eq!((gguf.get_f64("i32")?, gguf.get_f64("i64")?), (-70_000., -(2f64.powi(40))));
    assert_eq!(gguf.get_f64("f64")?, 0.1);
    assert!(gguf.get_bool("add_bos")?);
    assert_eq!(gguf.get_strings("tokens")?, ["a", "", "é"]);
    assert_eq!(gguf.get_f64s("types")?, [1., -6.]);
    let nested = vec![MetadataArray::Bools(vec![false, true]), MetadataArray::Numbers(Vec::new())];
    assert_eq!(gguf.metadata("nested"), Some(&MetadataValue::Array(MetadataArray::Arrays(nested))));
    assert_eq!(gguf.metadata("i8"), Some(&MetadataValue::I8(-3)));
    assert_eq!(gguf.all_metadata().count(), 15);
    Ok(())
}

#[test]
fn linear_and_yarn_rope_scaling_are_read_from_the_metadata() -> Result<()> {
    let scaling = |values: &[(&str, u32, Vec<u8>)]| -> Result<Option<RopeScaling>> {
        let writer = values.iter().fold(sample(), |writer, (name, kind, bytes)| {
            writer.value(&format!("llama.rope.{name}"), *kind, bytes.clone())
        });
        rope_scaling(&open(&writer.file())?, "llama")
    };
    let kind = |name: &str| ("scaling.type", 8, string(name));
    let number = |name, value: f32| (name, 6, value.to_le_bytes().to_vec());
    let original = ("scaling.original_context_length", 4, 32_768u32.to_le_bytes().to_vec());
    assert_eq!(scaling(&[])?, None);
    let linear = Some(RopeScaling::Linear { factor: 4. });
    assert_eq!(scaling(&[kind("linear"), number("scaling.factor", 4.)])?, linear);
    assert_eq!(scaling(&[number("scale_linear", 4.)])?, linear, "of older files");
    assert_eq!(scaling(&[kind("none"), number("scaling.factor", 4.)])?, None);
    let yarn = [kind("yarn"), number("scaling.factor", 4.), original];
    let expected = YarnScaling {
        factor: 4.,
        attention_factor: None,
        beta_fast: 32.,
        beta_slow: 1.,
        original_context_len: 32_768,
    };
    assert_eq!(scaling(&yarn)?, Some(RopeScaling::Yarn(expected)));
    assert!(
        error(scaling(&yarn[..2])).contains("no metadata `llama.rope.scaling.original_context")
    );
    for other in [number("scaling.attn_factor", 0.5), number("scaling.yarn_log_multiplier", 0.2)] {
        let values = [&yarn[..], &[other]].concat();
        assert!(error(scaling(&values)).contains("is not supported"));
    }
    assert!(error(scaling(&[kind("longrope")])).contains("RoPE scaling `longrope`"));
    Ok(())
}

#[test]
fn a_wrong_key_or_type_is_named() -> Result<()> {
    let gguf = open(&sample().file())?;
    let message = error(gguf.get_usize("llama.head_count"));
    assert!(message.ends_with("model.gguf has no metadata `llama.head_count`"), "{message}");
    let message = error(gguf.get_usize("tokens"));
    assert!(message.ends_with("`tokens` is an array of strings, expected a size"), "{message}");
    assert!(error(gguf.get_usize("i32")).contains("expected a size"));
    assert!(error(gguf.get_str("add_bos")).contains("is a boolean, expected a string"));
    assert!(error(gguf.get_f64s("tokens")).contains("expected an array of numbers"));
    assert!(error(gguf.read_tensor("nothing")).ends_with("model.gguf has no tensor `nothing`"));
    Ok(())
}

#[test]
fn tensors_have_their_dims_formats_and_bytes() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("model.gguf");
    for version in [2, 3] {
        let file = Writer { version, ..sample() };
        std::fs::write(&path, file.file())?;
        let gguf = Gguf::open(&path)?;
        assert_eq!(gguf.tensor_infos().count(), TensorFormat::ALL.len());
        for ((i, format), entry) in TensorFormat::ALL.into_iter().enumerate().zip(&file.tensors) {
            let info = gguf.tensor_info(&entry.name)?;
            assert_eq!((&info.dims[..], info.format), (&[2, 1 + i, 256][..], format));
            assert_eq!(info.size_in_bytes(), entry.bytes.len());
            assert_eq!(gguf.read_tensor(&entry.name)?, entry.bytes, "{format}");
        }
        std::fs::write(&path, [file.file(), vec![0]].concat())?;
        assert!(error(gguf.read_tensor("t.F32")).contains("has changed since it was opened"));
    }
    Ok(())
}

#[test]
fn block_sizes_equal_those_of_candle() {
    for (format, dtype) in TensorFormat::ALL.into_iter().map(|format| (format, ggml_dtype(format)))
    {
        assert_eq!(format.block_len(), dtype.block_size(), "{format}");
        assert_eq!(format.block_bytes(), dtype.type_size(), "{format}");
    }
}

fn ggml_dtype(format: TensorFormat) -> GgmlDType {
    match format {
        TensorFormat::F32 => GgmlDType::F32,
        TensorFormat::F16 => GgmlDType::F16,
        TensorFormat::BF16 => GgmlDType::BF16,
        TensorFormat::Quantized(Quantization::Q4_0) => GgmlDType::Q4_0,
        TensorFormat::Quantized(Quantization::Q4_1) => GgmlDType::Q4_1,
        TensorFormat::Quantized(Quantization::Q5_0) => GgmlDType::Q5_0,
        TensorFormat::Quantized(Quantization::Q5_1) => GgmlDType::Q5_1,
        TensorFormat::Quantized(Quantization::Q8_0) => GgmlDType::Q8_0,
        TensorFormat::Quantized(Quantization::Q4K) => GgmlDType::Q4K,
        TensorFormat::Quantized(Quantization::Q6K) => GgmlDType::Q6K,
    }
}

#[test]
fn a_custom_alignment_moves_the_data() -> Result<()> {
    for alignment in [1u32, 8, 4096] {
        let mut file = Writer::new().value("general.alignment", 4, alignment.to_le_bytes());
        file.alignment = u64::from(alignment);
        let file = file.tensor("a", &[3], TensorFormat::F32).tensor("b", &[5], TensorFormat::F16);
        assert!(check_header(&file.header(), file.file().len() as u64).is_ok());
        let folder = tempfile::tempdir()?;
        let path = folder.path().join("model.gguf");
        std::fs::write(&path, file.file())?;
        assert_eq!(Gguf::open(&path)?.read_tensor("b")?, [0, 1, 2, 3, 4, 5, 6, 7, 8, 9]);
    }
    for (kind, bytes) in [(4, &[0; 4][..]), (4, &[24, 0, 0, 0]), (10, &[32, 0, 0, 0, 0, 0, 0, 0])] {
        let message = refused(&Writer::new().value("general.alignment", kind, bytes));
        assert!(message.contains("expected a U32 power of two"), "{message}");
    }
    Ok(())
}

#[test]
fn add_bos_and_add_eos_come_from_the_file() -> Result<()> {
    let file = Writer::new()
        .value("tokenizer.ggml.model", 8, string("gpt2"))
        .value("tokenizer.ggml.tokens", 9, array(8, &["a", "b"].map(string)))
        .value("tokenizer.ggml.add_bos_token", 7, [0])
        .value("tokenizer.ggml.add_eos_token", 7, [1]);
    let parts = GgufTokenizer::read(&open(&file.file())?)?;
    assert_eq!((parts.add_bos, parts.add_eos), (Some(false), Some(true)));
    Ok(())
}

/// Values of a tensor, dequantized by candle.
fn dequantized(gguf: &Gguf, name: &str) -> Result<Tensor> {
    let info = gguf.tensor_info(name)?;
    let storage =
        QStorage::from_data(gguf.read_tensor(name)?.into(), &Device::Cpu, ggml_dtype(info.format))?;
    Ok(QTensor::new(storage, info.dims.clone())?.dequantize(&Device::Cpu)?)
}

/// The file was written by llama.cpp's Python package, with the values that it dequantizes
/// (`scripts/golden_gguf.py`).
#[test]
fn every_format_dequantizes_as_in_python() -> Result<()> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/formats.gguf");
    let gguf = Gguf::open(&path)?;
    assert_eq!(gguf.tensor_infos().count(), 2 * TensorFormat::ALL.len() + 3);
    for format in TensorFormat::ALL {
        let (name, expected) = (format.to_string(), format!("{format}.f32"));
        let info = gguf.tensor_info(&name)?;
        assert_eq!((info.format, &info.dims[..]), (format, &[2, 256][..]));
        assert_close(&dequantized(&gguf, &name)?, &dequantized(&gguf, &expected)?, 1e-6);
    }
    assert_eq!(gguf.get_usize("general.alignment")?, 64);
    assert_eq!(gguf.get_strings("tokenizer.ggml.tokens")?, ["<s>", "é", "𝄞"]);
    assert_eq!(gguf.get_f64s("tokenizer.ggml.scores")?, [0., -1.5, -2.]);
    assert_eq!(gguf.get_f64s("tokenizer.ggml.token_type")?, [3., 1., 1.]);
    assert!(gguf.get_bool("tokenizer.ggml.add_bos_token")?);
    Ok(())
}

/// `values` of the same file, quantized by that package.
#[test]
fn blocks_of_five_bits_are_those_of_python() -> Result<()> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/formats.gguf");
    let gguf = Gguf::open(&path)?;
    let values = dequantized(&gguf, "values")?;
    for (format, tolerance) in [(Quantization::Q5_0, 0.12), (Quantization::Q5_1, 0.1)] {
        let blocks = gguf.read_tensor(&format!("{}.values", format.name()))?;
        let matrix = QuantizedMatrix::quantize(format, &values)?;
        assert_eq!(matrix.blocks(), blocks, "{format:?}");
        // A step is a 16th of the largest value, or a 31st of the range.
        assert_close(&matrix.dequantize()?, &values, tolerance);
        let random = gguf.read_tensor(format.name())?;
        let random = QuantizedMatrix::new(format, 2, 256, random)?.dequantize()?;
        let expected = dequantized(&gguf, &format!("{}.f32", format.name()))?;
        assert_close(&random, &expected, 1e-6);
    }
    Ok(())
}

/// The expected values come from the Python package `gguf`, the reference implementation.
#[test]
fn smollm2_is_read_as_in_python() -> Result<()> {
    let Some(path) = course_data("models/SmolLM2-135M-Instruct.Q4_1.gguf") else { return Ok(()) };
    let gguf = Gguf::open(&path)?;
    assert_eq!(gguf.get_str("general.architecture")?, "llama");
    assert_eq!(gguf.get_usize("llama.attention.head_count_kv")?, 3);
    assert_eq!(gguf.get_f64("llama.attention.layer_norm_rms_epsilon")? as f32, 1e-5);
    assert_eq!(gguf.get_strings("tokenizer.ggml.tokens")?.len(), 49_152);
    assert_eq!(gguf.get_strings("tokenizer.ggml.merges")?[0], "Ġ t");
    assert_eq!(gguf.all_metadata().count(), 33);
    let count = |format| gguf.tensor_infos().filter(|(_, info)| info.format == format).count();
    assert_eq!(
        (
            count(TensorFormat::Quantized(Quantization::Q4_1)),
            count(TensorFormat::F32),
            count(TensorFormat::Quantized(Quantization::Q8_0))
        ),
        (210, 61, 1)
    );
    let lines =
        gguf.tensor_infos().map(|(name, info)| format!("{name} {:?} {}\n", info.dims, info.format));
    assert_eq!(crc32(lines.collect::<String>().as_bytes()), 0x5365_c4a4);
    assert_eq!(
        crc32(gguf.get_strings("tokenizer.ggml.tokens")?.join("\n").as_bytes()),
        0xbf32_a44b
    );
    assert_eq!(
        crc32(gguf.get_strings("tokenizer.ggml.merges")?.join("\n").as_bytes()),
        0xbbee_10ef
    );
    assert_eq!(gguf.get_f64s("tokenizer.ggml.token_type")?.iter().sum::<f64>(), 49_186.);
    // Name, first number, last number, sum of absolute values.
    for (name, dims, first, last, sum) in [
        (
            "token_embd.weight",
            vec![49_152, 576],
            -0.106_544_495,
            -0.041_702_27,
            2_802_153.619_805_8,
        ),
        ("blk.0.attn_k.weight", vec![192, 576], -0.155_273_44, 0.363_647_46, 29_794.781_265_26),
        (
            "blk.29.ffn_down.weight",
            vec![576, 1536],
            -0.273_315_43,
            0.056_640_625,
            126_250.914_352_4,
        ),
        ("output_norm.weight", vec![576], 1.757_812_5, 1.984_375, 1_045.097_656_25),
    ] {
        let info = gguf.tensor_info(name)?;
        assert_eq!(info.dims, dims, "{name}");
        let tensor = dequantized(&gguf, name)?.flatten_all()?;
        let values: Vec<f32> = tensor.to_vec1()?;
        assert_eq!((values[0], *values.last().unwrap()), (first, last), "{name}");
        let abs_sum = tensor.to_dtype(DType::F64)?.abs()?.sum_all()?.to_scalar::<f64>()?;
        assert!((abs_sum - sum).abs() < 1e-6 * sum, "{name}: {abs_sum} {sum}");
    }
    Ok(())
}

fn crc32(bytes: &[u8]) -> u32 {
    let step = |crc: u32, _| (crc >> 1) ^ (0xEDB8_8320 & (crc & 1).wrapping_neg());
    !bytes.iter().fold(!0, |crc, &byte| (0..8).fold(crc ^ u32::from(byte), step))
}
