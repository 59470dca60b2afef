"""Writes crates/model_io/tests/golden/formats.gguf with llama.cpp's Python package `gguf`.

Tensor `Q4_K` holds random blocks of that format, and tensor `Q4_K.f32` the values to which the
package dequantizes them; the same for the other formats. Tensor `Q5_0.values` holds the blocks into
which the package quantizes `values`; the same for `Q5_1`.

    pip install gguf==0.19.0 && python scripts/golden_gguf.py
"""

from pathlib import Path

import numpy as np
from gguf import GGMLQuantizationType, GGUFWriter
from gguf.constants import GGML_QUANT_SIZES
from gguf.quants import dequantize, quantize

FORMATS = ["F32", "F16", "BF16", "Q4_0", "Q4_1", "Q8_0", "Q4_K", "Q6_K", "Q5_0", "Q5_1"]
SHAPE = (2, 256)
# Offsets of the f16 scales within a block, which are set to reasonable values.
SCALES = {
    "Q4_0": [0],
    "Q4_1": [0, 2],
    "Q5_0": [0],
    "Q5_1": [0, 2],
    "Q8_0": [0],
    "Q4_K": [0, 2],
    "Q6_K": [208],
}

rng = np.random.default_rng(0)
path = Path(__file__).parents[1] / "crates/model_io/tests/golden/formats.gguf"
path.parent.mkdir(parents=True, exist_ok=True)
writer = GGUFWriter(path, "llama")
writer.add_block_count(3)
writer.add_rope_freq_base(1e4)
writer.add_token_list(["<s>", "é", "𝄞"])
writer.add_token_scores([0.0, -1.5, -2.0])
writer.add_token_types([3, 1, 1])
writer.add_add_bos_token(True)
writer.add_custom_alignment(64)

for name in FORMATS:
    dtype = GGMLQuantizationType[name]
    values = rng.standard_normal(SHAPE).astype(np.float32)
    if name == "F32":
        data = values
    elif name == "F16":
        data = values.astype(np.float16)
    elif name == "BF16":
        data = (values.view(np.uint32) >> 16).astype(np.uint16).view(np.uint8)
    else:
        block, size = GGML_QUANT_SIZES[dtype]
        data = rng.integers(0, 256, (SHAPE[0] * SHAPE[1] // block, size), dtype=np.uint8)
        for offset in SCALES[name]:
            scales = rng.uniform(-0.1, 0.1, (len(data), 1)).astype(np.float16)
            data[:, offset : offset + 2] = scales.view(np.uint8)
        data = data.reshape(SHAPE[0], -1)
    writer.add_tensor(name, data, raw_dtype=dtype)
    writer.add_tensor(f"{name}.f32", dequantize(data, dtype).reshape(SHAPE).astype(np.float32))

values = rng.standard_normal(SHAPE).astype(np.float32)
writer.add_tensor("values", values)
for name in ["Q5_0", "Q5_1"]:
    dtype = GGMLQuantizationType[name]
    writer.add_tensor(f"{name}.values", quantize(values, dtype), raw_dtype=dtype)

writer.write_header_to_file()
writer.write_kv_data_to_file()
writer.write_tensors_to_file()
writer.close()
