"""Networks trained on real data, one short file each; `make train` runs them all.

python -m examples.training.digits        # seconds
python -m examples.training.drums         # raw audio
"""
