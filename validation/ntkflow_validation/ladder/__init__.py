"""The kernel ladder on a training run: how well each assumption predicts it, and what each one costs."""
