"""fanfold beside what people would use instead, on one machine in one run: `scripts/bench`."""
