"""The compiled modules; all the rest is in setup.cfg."""

from setuptools import Extension, setup

# No fused product and sum: each operation rounds by itself, so that every machine makes the same bits.
FLAGS = ["-O3", "-ffp-contract=off", "-fno-math-errno"]

setup(
    ext_modules=[
        Extension(
            name,
            [f"{name.replace('.', '/')}.c"],
            depends=["synthgen/runtime/kernel.h"],
            extra_compile_args=FLAGS,
            py_limited_api=True,
        )
        for name in (
            "synthgen.generate._rows",
            "synthgen.formats._lines",
            "synthgen.formats._frames",
            "synthgen.formats._strings",
            "synthgen.server._numbers",
        )
    ]
)
