"""Processes, devices and replicas: what a run computes on."""
