"""Entry scripts: the only readers of flags."""

import os

# Before TensorFlow is imported: its C++ library greets every start with a page
# of remarks about devices that are not there. Errors stay.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
