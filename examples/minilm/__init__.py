"""A small BERT written with hither.nn layers, its weights from a safetensors file: which sentence is nearest in meaning?"""
