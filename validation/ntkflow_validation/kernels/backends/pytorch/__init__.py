"""Modules of torch: their Jacobians through torch.func, layer by layer where products are cheaper."""
