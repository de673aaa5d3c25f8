"""Triton kernels for what a training step does to every Gaussian and pixel; each has a plain torch twin elsewhere.

They exist because eager PyTorch spends longer launching a few hundred small operations than a GPU spends rendering. Nothing in
here is imported before a CUDA tensor asks for it.
"""
