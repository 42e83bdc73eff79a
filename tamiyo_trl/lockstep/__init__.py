"""Numeric kernels: many small networks as rows of one tensor, gradients by hand, one optimiser step for all."""
