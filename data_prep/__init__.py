"""From pictures to shards: builders, each with a main of its own."""

import sys

from noisy_student_tf import terminal

terminal.begin_program(sys.argv)
