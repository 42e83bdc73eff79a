"""Collectors: TorchRL's collector, faster. The only package that touches TorchRL's private parts.

TorchRL 0.14 calls `Collector` what it called `SyncDataCollector` before; `collector.py` is the one place of the alias.

What the fast parts buy together (collector, one-pass loss and networks), on masked CartPole with an LSTM: the whole
loop takes about half the CPU time of the stock collector and modules under the same learner
(benchmarks/results/recurrent_ppo.md). Where hosts train, collection and update are a few per cent of the job.
The plain composition of stock parts is recipes/ppo_in_torchrl.py.
"""
