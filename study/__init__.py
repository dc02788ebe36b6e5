"""The studies: what runs, what is kept of it, what it says."""

import sys

from noisy_student_tf import terminal

terminal.begin_program(sys.argv)
