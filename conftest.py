"""For every run of pytest in this repository, nbval's included: notebooks/ lies beside tests/, so this stands above."""

pytest_plugins = ["tests.notebooks.cpu_budget"]
