"""Entry scripts: the only readers of flags."""
