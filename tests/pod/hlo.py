"""Programs as XLA gets them, and what a TPU would refuse in them."""

import math
import re

import tensorflow as tf

_REFUSED = {
    "numbers of 64 bits": r"\b(f64|c128)\[",
    "a shape that data decides": r"\[[\d,]*<=\d+",
    "a transfer to the host": r"\b(infeed|outfeed|send|recv)\(|callback",
}
# Of one instruction: its name, type, shape, operation and operands.
_INSTRUCTION = re.compile(
    r"^\s*(?:ROOT )?%?(\S+) = (\w+)\[([\d,]*)\]\S* ([\w-]+)\(([^)]*)\)(.*)$",
    re.MULTILINE,
)


def lower(function, *arguments):
    """Return the program of a function, not optimized.

    Raises:
        Exception: There is an operation that XLA does not know.
    """
    compiled = tf.function(function, jit_compile=True, autograph=False)
    return compiled.experimental_get_compiler_ir(*arguments)(stage="hlo")


def problems(program):
    """Return what a TPU would refuse, or serialize."""
    return [
        what
        for what, pattern in _REFUSED.items()
        if re.search(pattern, program)
    ]


def largest(program, operation):
    """Return the most numbers that a kind of operation puts out, or 0."""
    return max(
        (
            math.prod(_dimensions(shape))
            for _, _, shape, found, _, _ in _INSTRUCTION.findall(program)
            if found == operation
        ),
        default=0,
    )


def multiply_adds(program):
    """Return those of convolutions and products of matrices.

    The body of a loop is counted once.
    """
    shapes, total = {}, 0
    for name, _, shape, operation, operands, rest in _INSTRUCTION.findall(
        program
    ):
        dimensions = shapes[name] = _dimensions(shape)
        if operation not in ("convolution", "dot"):
            continue
        left, right = (
            shapes[operand.split()[-1].lstrip("%")]
            for operand in operands.split(", ")
        )
        terms = (
            _terms_of_convolution(right, rest)
            if operation == "convolution"
            else _terms_of_product(left, rest)
        )
        total += math.prod(dimensions) * terms
    return total


def _terms_of_convolution(kernel, rest):
    """Return how many products make one number of the output."""
    window = re.search(r"window=\{(.*?)\}", rest)
    sizes = re.search(r"size=([\dx]+)", window[1])
    dilation = re.search(r"lhs_dilate=([\dx]+)", window[1])
    labels = re.search(r"dim_labels=\w+_(\w+)->", rest)[1]
    terms = kernel[labels.index("i")]
    terms *= math.prod(map(int, sizes[1].split("x")))
    # Between the numbers of a dilated input are zeros.
    return terms / math.prod(
        map(int, dilation[1].split("x")) if dilation else ()
    )


def _terms_of_product(left, rest):
    contracted = re.search(r"lhs_contracting_dims=\{([\d,]*)\}", rest)[1]
    return math.prod(left[int(axis)] for axis in contracted.split(",") if axis)


def _dimensions(shape):
    return [int(size) for size in shape.split(",") if size]
