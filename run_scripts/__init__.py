"""Entry scripts: the only readers of flags.

Importing the package sets what TensorFlow reads while it is imported.
"""

import os
import sys

from noisy_student_tf import terminal

terminal.begin_program(sys.argv)
# Its C++ library greets every start with a page of remarks about devices that
# are not there. Errors stay.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
# Off by default on CPUs without AVX-512; a training step of the digits' net
# takes 1.7 times as long without it.
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")
