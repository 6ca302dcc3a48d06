"""A folder that `hf-lrsched run` puts on PYTHONPATH: a Python that finds it there registers the schedules as it starts."""
