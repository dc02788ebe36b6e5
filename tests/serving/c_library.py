"""TensorFlow's C library, through ctypes: the loader that servers use.

The package that holds it is not imported; only its two shared libraries are
opened.
"""

import ctypes
import os

_FLOAT, _STRING = 1, 7
_STRING_BYTES = 24  # sizeof(TF_TString)


class _Output(ctypes.Structure):
    _fields_ = (("operation", ctypes.c_void_p), ("index", ctypes.c_int))


class _Library:
    """The C functions, each returning a pointer unless said otherwise."""

    def __init__(self, directory: str) -> None:
        for name in ("libtensorflow_framework.so.2", "libtensorflow_cc.so.2"):
            self._library = ctypes.CDLL(
                os.path.join(directory, name), mode=ctypes.RTLD_GLOBAL
            )
        self.status = self("TF_NewStatus")

    def __call__(self, name, *arguments, returns=ctypes.c_void_p):
        function = getattr(self._library, name)
        function.restype = returns
        return function(
            *(
                ctypes.c_void_p(argument)
                if isinstance(argument, int) or argument is None
                else argument
                for argument in arguments
            )
        )

    def check(self) -> None:
        if self("TF_GetCode", self.status, returns=ctypes.c_int):
            message = self("TF_Message", self.status, returns=ctypes.c_char_p)
            raise RuntimeError(message.decode())

    def load(self, directory: str) -> tuple[int, int]:
        """Return the session and the graph of a SavedModel."""
        graph = self("TF_NewGraph")
        tags = (ctypes.c_char_p * 1)(b"serve")
        session = self(
            "TF_LoadSessionFromSavedModel",
            self("TF_NewSessionOptions"),
            None,
            directory.encode(),
            tags,
            ctypes.c_int(1),
            graph,
            None,
            self.status,
        )
        self.check()
        return session, graph

    def output(self, graph: int, tensor_name: str) -> _Output:
        name, _, index = tensor_name.partition(":")
        operation = self("TF_GraphOperationByName", graph, name.encode())
        return _Output(operation, int(index))

    def string_tensor(self, content: bytes) -> int:
        """Return a tensor of one string, [1]."""
        shape = (ctypes.c_int64 * 1)(1)
        tensor = self(
            "TF_AllocateTensor",
            ctypes.c_int(_STRING),
            shape,
            ctypes.c_int(1),
            ctypes.c_size_t(_STRING_BYTES),
        )
        place = self("TF_TensorData", tensor)
        self("TF_StringInit", place)
        self("TF_StringCopy", place, content, ctypes.c_size_t(len(content)))
        return tensor

    def run(self, session: int, source: _Output, tensor: int, target: _Output):
        """Return the first row of a float output."""
        results = (ctypes.c_void_p * 1)()
        self(
            "TF_SessionRun",
            session,
            None,
            ctypes.byref(source),
            (ctypes.c_void_p * 1)(tensor),
            ctypes.c_int(1),
            ctypes.byref(target),
            results,
            ctypes.c_int(1),
            None,
            ctypes.c_int(0),
            None,
            self.status,
        )
        self.check()
        (result,) = results
        count = self("TF_Dim", result, ctypes.c_int(1), returns=ctypes.c_int64)
        data = self("TF_TensorData", result)
        return list((ctypes.c_float * count).from_address(data))


def classify(
    library_directory: str,
    saved_model: str,
    input_name: str,
    output_name: str,
    picture: str,
) -> list[float]:
    """Return the output's row for one picture, given in hex."""
    library = _Library(library_directory)
    session, graph = library.load(saved_model)
    return library.run(
        session,
        library.output(graph, input_name),
        library.string_tensor(bytes.fromhex(picture)),
        library.output(graph, output_name),
    )
