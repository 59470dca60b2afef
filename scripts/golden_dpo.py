"""Writes the golden values of the preference losses, and five steps of DPO, with TRL's trainers.

Writes:    crates/part_10_dpo/tests/golden/losses.json, steps.json,
           distillation.json, kto_mismatches.json
Usage:     python golden_dpo.py       (torch, transformers, trl 1.16)

Losses: DPOTrainer._compute_loss, KTOTrainer._compute_loss, ORPOTrainer.odds_ratio_loss and
CPOTrainer.cpo_loss run on fixed log-probabilities per token instead of a model's, in f64. The file
has each loss and its gradient with respect to the log-probability of each completion, which is that
of any of its tokens.

DPOTrainer of TRL 1.16 has no label smoothing for its sigmoid loss; CPOTrainer's, of log-ratios in
the place of log-probabilities, is conservative DPO. ORPO's cross-entropy is that of DPOTrainer's
`sft`, over the completion: ORPOTrainer's own takes the prompt, too.

Steps: DPOTrainer trains the small random Llama of part 3's golden files.

Distillation: GKDTrainer.generalized_jsd_loss on random logits, in f64.

KTO's mismatches: the data set that KTOTrainer makes of pairs.
"""

import json
import pathlib
import tempfile
import types
from collections import defaultdict

import torch
import transformers
from datasets import Dataset
from tokenizers import Tokenizer, models, pre_tokenizers
from trl import DPOConfig, DPOTrainer, KTOConfig, KTOTrainer
from trl.experimental.cpo import CPOTrainer
from trl.experimental.gkd import GKDTrainer
from trl.experimental.orpo import ORPOTrainer

CRATES = pathlib.Path(__file__).resolve().parent.parent / "crates"
OUT = CRATES / "part_10_dpo" / "tests" / "golden"
LLAMA = CRATES / "part_3_modern" / "tests" / "golden" / "llama"
LENGTHS = [3, 1, 6, 2, 5, 4, 4, 7]  # four chosen, then the four rejected completions
PROMPT = 2
KTO_LABELS = [True, True, False, True, False, False, True, False]


class Accelerator:
    device = torch.device("cpu")

    def gather(self, x):
        return x

    gather_for_metrics = gather

    def unwrap_model(self, model):
        return model


def trainer(**settings):
    """A trainer's attributes that its loss reads."""
    defaults = {
        "model": types.SimpleNamespace(training=True),
        "accelerator": Accelerator(),
        "_metrics": defaultdict(lambda: defaultdict(list)),
        "_total_train_tokens": 0,
        "_tp_size": 1,
        "aux_loss_enabled": False,
        "precompute_ref_logps": True,
        "use_weighting": False,
        "ld_alpha": None,
        "f_divergence_type": "reverse_kl",
        "alpha": 0.0,
    }
    return types.SimpleNamespace(**{**defaults, **settings})


def batch(per_token, reference):
    """Model and inputs whose log-probabilities per token are `per_token`."""
    n, t = per_token.shape
    mask = torch.zeros(n, PROMPT + t, dtype=torch.long)
    for row, length in zip(mask, LENGTHS, strict=True):
        row[PROMPT : PROMPT + length] = 1
    shifted = torch.cat([torch.zeros(n, PROMPT - 1, dtype=per_token.dtype), per_token], 1)
    shifted = shifted * mask[:, 1:]
    outputs = types.SimpleNamespace(
        log_probs=shifted,
        entropy=torch.zeros_like(shifted),
        mean_logits=torch.zeros_like(shifted),
        is_top1=torch.zeros_like(shifted, dtype=torch.bool),
    )
    inputs = {
        "input_ids": torch.ones_like(mask),
        "attention_mask": torch.ones_like(mask),
        "completion_mask": mask,
        "ref_chosen_logps": reference[: n // 2],
        "ref_rejected_logps": reference[n // 2 :],
        "ref_logps": reference,
        "ref_KL_logps": torch.zeros(n, dtype=per_token.dtype),
        "label": torch.tensor(KTO_LABELS),
    }
    return (lambda **_: outputs), inputs


def loss_cases(per_token, reference):
    lengths = torch.tensor(LENGTHS, dtype=torch.float64)
    tokens = torch.arange(per_token.size(1))[None] < lengths[:, None]

    def case(name, compute, **settings):
        x = per_token.clone().requires_grad_()
        loss = compute(x)
        loss.backward()
        gradient = x.grad[:, 0].tolist()
        return {**settings, "loss_type": name, "loss": loss.item(), "gradient": gradient}

    def dpo(types_, weights, **settings):
        def compute(x):
            this = trainer(loss_types=types_, loss_weights=weights, **settings)
            return DPOTrainer._compute_loss(this, *batch(x, reference), False)

        return compute

    def kto(kl, **settings):
        def compute(x):
            this = trainer(
                loss_type="kto",
                calculate_KL=True,
                _compute_kl_logps=lambda *_: torch.full((len(LENGTHS),), kl, dtype=torch.float64),
                **settings,
            )
            return KTOTrainer._compute_loss(this, *batch(x, reference), False)

        return compute

    def means(x):
        return ((x * tokens).sum(1) / lengths).chunk(2)

    def orpo(beta):
        def compute(x):
            losses = ORPOTrainer.odds_ratio_loss(trainer(beta=beta), *means(x))[0]
            return dpo(["sft"], [1.0], beta=beta)(x) - losses.mean()

        return compute

    def simpo(beta, gamma):
        this = trainer(beta=beta, simpo_gamma=gamma, label_smoothing=0.0, loss_type="simpo")
        return lambda x: CPOTrainer.cpo_loss(this, *means(x))[0].mean()

    def conservative(beta, epsilon):
        this = trainer(beta=beta, label_smoothing=epsilon, loss_type="sigmoid")
        return lambda x: CPOTrainer.cpo_loss(
            this, *((x * tokens).sum(1) - reference).chunk(2)
        )[0].mean()

    weights = {"desirable_weight": 1.3, "undesirable_weight": 0.7}
    return [
        case("sigmoid", dpo(["sigmoid"], [1.0], beta=0.1), beta=0.1),
        case("sigmoid", dpo(["sigmoid"], [1.0], beta=2.0), beta=2.0),
        case("sigmoid", conservative(0.5, 0.1), beta=0.5, label_smoothing=0.1),
        case(
            "sigmoid",
            dpo(["sigmoid", "sft"], [1.0, 0.2], beta=0.5),
            beta=0.5,
            sft_weight=0.2,
        ),
        case(
            "robust",
            dpo(["robust"], [1.0], beta=0.5, label_smoothing=0.1),
            beta=0.5,
            label_smoothing=0.1,
        ),
        case("sigmoid-norm", dpo(["sigmoid_norm"], [1.0], beta=5.0), beta=5.0),
        case("ipo", dpo(["ipo"], [1.0], beta=0.3), beta=0.3),
        case("hinge", dpo(["hinge"], [1.0], beta=0.5), beta=0.5),
        case("orpo", orpo(0.1), beta=0.1, sft_weight=1.0),
        case("simpo", simpo(2.0, 0.5), beta=2.0, gamma=0.5),
        case("kto", kto(0.4, beta=0.5, **weights), beta=0.5, kl=0.4, **weights),
        case("kto", kto(-0.4, beta=0.5, **weights), beta=0.5, kl=0.0, **weights),
    ]


def losses():
    torch.manual_seed(10)
    n, t = len(LENGTHS), max(LENGTHS)
    per_token = -2 * torch.rand(n, t, dtype=torch.float64) - 0.01
    tokens = torch.arange(t)[None] < torch.tensor(LENGTHS)[:, None]
    policy = (per_token * tokens).sum(1)
    reference = policy + torch.randn(n, dtype=torch.float64)
    golden = {
        "lengths": LENGTHS,
        "kto_labels": KTO_LABELS,
        "policy": policy.tolist(),
        "reference": reference.tolist(),
        "cases": loss_cases(per_token, reference),
    }
    (OUT / "losses.json").write_text(json.dumps(golden) + "\n")


class RecordingTrainer(DPOTrainer):
    """The trainer, which also keeps the loss of each step with all digits."""

    def compute_loss(self, *args, **kwargs):
        loss = super().compute_loss(*args, **kwargs)
        self.losses.append(loss.item())
        return loss

    losses: list = []


def word_tokenizer():
    names = [f"t{i}" for i in range(64)]
    names[2:4] = ["<eos>", "<pad>"]
    backend = Tokenizer(models.WordLevel({name: i for i, name in enumerate(names)}, unk_token="t0"))
    backend.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer = transformers.PreTrainedTokenizerFast(
        tokenizer_object=backend, eos_token="<eos>", pad_token="<pad>"
    )
    return tokenizer


def text(ids):
    return " ".join(f"t{i}" for i in ids)


def steps():
    tokenizer = word_tokenizer()
    generator = torch.Generator().manual_seed(4)

    def ids(n):
        return torch.randint(4, 40, (n,), generator=generator).tolist()

    # The completions end with <eos>, which the trainer appends.
    rows = [
        {"prompt": ids(2 + i % 3), "chosen": ids(1 + i % 4), "rejected": ids(5 - i % 5)}
        for i in range(10)
    ]
    texts = [
        {
            "prompt": text(row["prompt"]),
            "chosen": " " + text(row["chosen"]),
            "rejected": " " + text(row["rejected"]),
        }
        for row in rows
    ]
    model = transformers.AutoModelForCausalLM.from_pretrained(
        LLAMA, dtype=torch.float32, attn_implementation="eager"
    )
    with tempfile.TemporaryDirectory() as folder:
        config = DPOConfig(
            output_dir=folder,
            per_device_train_batch_size=2,
            max_steps=5,
            learning_rate=1e-2,
            lr_scheduler_type="constant",
            warmup_steps=0,
            weight_decay=0.0,
            max_grad_norm=1.0,
            beta=0.5,
            bf16=False,
            logging_steps=1,
            report_to=[],
            save_strategy="no",
            gradient_checkpointing=False,
            train_sampling_strategy="sequential",
            use_cpu=True,
            disable_tqdm=True,
        )
        this = RecordingTrainer(
            model=model,
            args=config,
            train_dataset=Dataset.from_list(texts),
            processing_class=tokenizer,
        )
        this.train()
    names = ["grad_norm", "rewards/chosen", "rewards/rejected", "rewards/margins"]
    names += ["rewards/accuracies", "logps/chosen", "logps/rejected"]
    history = [log for log in this.state.log_history if "grad_norm" in log]
    golden = {
        "rows": rows,
        "steps": [
            {"loss": loss, **{name: float(log[name]) for name in names}}
            for loss, log in zip(this.losses, history, strict=True)
        ],
    }
    (OUT / "steps.json").write_text(json.dumps(golden) + "\n")


def distillation():
    torch.manual_seed(11)
    student, teacher = 2 * torch.randn(2, 3, 5, dtype=torch.float64)
    cases = []
    for beta in [0.0, 0.3, 1.0]:
        x = student.clone().requires_grad_()
        loss = GKDTrainer.generalized_jsd_loss(x[None], teacher[None], beta=beta, reduction="sum")
        loss.backward()
        cases.append({"beta": beta, "loss": loss.item(), "gradient": x.grad.tolist()})
    golden = {"student": student.tolist(), "teacher": teacher.tolist(), "cases": cases}
    (OUT / "distillation.json").write_text(json.dumps(golden) + "\n")


def kto_mismatches():
    """The mismatched completions that KTOTrainer makes of pairs, in one batch."""
    rows = json.loads((OUT / "steps.json").read_text())["rows"][:4]
    texts = [
        {name: ("" if name == "prompt" else " ") + text(ids) for name, ids in row.items()}
        for row in rows
    ]
    model = transformers.AutoModelForCausalLM.from_pretrained(LLAMA, dtype=torch.float32)
    with tempfile.TemporaryDirectory() as folder:
        this = KTOTrainer(
            model=model,
            args=KTOConfig(
                output_dir=folder,
                per_device_train_batch_size=2 * len(rows),
                max_length=None,
                bf16=False,
                report_to=[],
                use_cpu=True,
            ),
            train_dataset=Dataset.from_list(texts),
            processing_class=word_tokenizer(),
        )
    golden = {
        "rows": rows,
        "mismatched": [
            {"prompt": row["prompt_ids"], "completion": row["KL_completion_ids"]}
            for row in this.train_dataset
        ],
    }
    (OUT / "kto_mismatches.json").write_text(json.dumps(golden) + "\n")


if __name__ == "__main__":
    OUT.mkdir(parents=True, exist_ok=True)
    losses()
    distillation()
    steps()
    kto_mismatches()
