"""Collectors: TorchRL's collector, faster. The only package that touches TorchRL's private parts."""
