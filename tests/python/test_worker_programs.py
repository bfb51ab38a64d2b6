"""Programs that are not just an interpreter with a script, and their workers."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
import zipapp
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import rkllm_rs
from support import SLOW, newest

if TYPE_CHECKING:
    from collections.abc import Callable

pytestmark = newest

USE = """
import sys, warnings
warnings.simplefilter("ignore")
from rkllm_rs import RKLLM, UnsupportedFeatureError
try:
    with RKLLM(sys.argv[2], library=sys.argv[1], isolate=True) as llm:
        print(llm.worker_pid is not None, llm.generate("x").text)
except UnsupportedFeatureError as error:
    print("RKLLM_RS_WORKER_PYTHON" in error.hint)
"""


def output(*words: object, **more: str) -> str:
    """What a program prints that ends well."""
    done = subprocess.run(
        [os.fspath(word) if isinstance(word, Path) else str(word) for word in words],
        capture_output=True,
        text=True,
        check=False,
        timeout=120 * SLOW,
        env={**os.environ, **more},
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_a_zipapp(library: Path, make_model: Callable[..., Path], tmp_path: Path) -> None:
    source = tmp_path / "app"
    source.mkdir()
    (source / "__main__.py").write_text("import helper\n")
    (source / "helper.py").write_text(USE)
    target = tmp_path / "app.pyz"
    zipapp.create_archive(source, target)
    assert output(sys.executable, target, library, make_model(["a"])) == "True a"


EMBEDDING = """
#include <Python.h>
int main(int argc, char **argv)
{
    PyConfig config;
    PyConfig_InitPythonConfig(&config);
    config.parse_argv = 0;
    if (PyStatus_Exception(PyConfig_SetBytesArgv(&config, argc, argv))
        || PyStatus_Exception(Py_InitializeFromConfig(&config)))
        return 2;
    int failed = PyRun_SimpleString(argv[3]);
    return Py_FinalizeEx() < 0 || failed ? 1 : 0;
}
"""


@pytest.fixture(scope="module")
def embedding(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A program of C that has an interpreter in it."""
    compiler = shutil.which("cc")
    if SLOW > 1 or compiler is None or not sysconfig.get_config_var("Py_ENABLE_SHARED"):
        pytest.skip("there is no compiler, or no shared library of this Python")
    folder = tmp_path_factory.mktemp("embedding")
    (folder / "main.c").write_text(EMBEDDING)
    libraries, name = sysconfig.get_config_var("LIBDIR"), sysconfig.get_config_var("LDVERSION")
    command = [compiler, "main.c", "-o", "program", f"-I{sysconfig.get_path('include')}"]
    command += [f"-L{libraries}", f"-Wl,-rpath,{libraries}", f"-lpython{name}"]
    subprocess.run(command, cwd=folder, check=True)
    return folder / "program"


@pytest.mark.parametrize("path", ["", "/usr/bin:/bin"])
def test_a_program_with_an_interpreter_in_it(
    embedding: Path, library: Path, make_model: Callable[..., Path], path: str
) -> None:
    """It finds the interpreter of its Python, or says what to set: nothing else is started in its place."""
    packages = str(Path(rkllm_rs.__file__).parents[1])
    home = {"PYTHONPATH": packages, "PYTHONHOME": sys.base_prefix, "PATH": path}
    model = make_model(["a"])
    assert output(embedding, library, model, USE, **home) in ("True a", "True")
    # Told, it starts that one.
    told = {**home, "RKLLM_RS_WORKER_PYTHON": sys.executable}
    assert output(embedding, library, model, USE, **told) == "True a"
    # Where none is to be found, it says so.
    nowhere = "sys.executable = ''; sys._base_executable = None; sys.base_exec_prefix = '/nowhere'"
    lost = USE.replace("import sys, warnings", f"import sys, warnings; {nowhere}")
    assert output(embedding, library, model, lost, **home) == "True"
