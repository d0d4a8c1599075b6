"""The exercises of each chapter: probes and mistakes. The words stand in ``texts/``."""
