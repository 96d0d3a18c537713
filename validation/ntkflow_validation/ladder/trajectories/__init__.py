"""Trajectories under an operator: by the flow and by the steps that training took."""
