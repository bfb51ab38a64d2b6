"""Compiles a C program against the ABI and runs it on a real model."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

# The program waits for a real model, and the machine may be busy.
pytestmark = pytest.mark.timeout(400)

HERE = Path(__file__).parent


@pytest.fixture(scope="session")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The compiled C program."""
    compiler = os.environ.get("CC") or shutil.which("cc")
    if not compiler:
        pytest.skip("NO C COMPILER: the C ABI was not tested")
    built = tmp_path_factory.mktemp("abi") / "abi_demo"
    source = HERE / "c/abi_demo.c"
    flags = ["-std=gnu11", "-O1", "-Wall", "-Wextra", "-Werror"]
    command = [compiler, *flags, "-o", str(built), str(source), "-ldl", "-lm", "-pthread"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return built


def test_the_library_is_stripped(library: Path) -> None:
    """A table of symbols names folders of the machine that built it, and makes the wheel an eighth larger."""
    assert b"\0.symtab\0" not in library.read_bytes()


def run(program: Path, library: Path, model: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    """Runs the program with the variables added to the environment."""
    environment = {k: v for k, v in os.environ.items() if k != "RKLLM_LOG_LEVEL"} | variables
    command = [str(program), str(library), str(model)]
    # An answer may end inside a character.
    return subprocess.run(
        command,
        capture_output=True,
        encoding="utf-8",
        errors="replace",
        check=False,
        env=environment,
        timeout=300,
    )


def test_a_c_program_runs_a_model_in_every_way(program: Path, library: Path, model: Path) -> None:
    done = run(program, library, model, RKLLM_LOG_LEVEL="1")
    assert done.returncode == 0, done.stderr
    assert done.stdout == "", "the library must not print to stdout"
    log = done.stderr
    assert "all checks passed" in log
    # In the vendor's form.
    assert "I rkllm: rkllm-runtime version: 1.3.0, rknpu driver version: none, platform: CPU\n" in log
    assert "E rkllm: prompt is too long: 100000 tokens exceed max_context_len 2048\n" in log
    assert "I rkllm: Generate: " in log


def test_the_file_says_what_it_is(library: Path) -> None:
    content = library.read_bytes()
    assert b"RKLLM SDK (version: 1.3.0 | target: Linux | build: cpu-runtime " in content
    assert b"rkllm_rs CPU runtime" in content


def test_only_the_abi_is_exported(library: Path) -> None:
    tool = shutil.which("nm")
    if not tool:
        pytest.skip("NO nm: the exported symbols were not tested")
    done = subprocess.run(
        [tool, "-D", "--defined-only", str(library)], capture_output=True, text=True, check=True
    )
    names = {line.split()[-1] for line in done.stdout.splitlines()}
    functions = (
        "createDefaultParam init run run_async abort is_running destroy load_lora load_prompt_cache "
        "release_prompt_cache clear_kv_cache set_chat_template get_kv_cache_size set_function_tools "
        "set_cross_attn_params"
    )
    assert names == {f"rkllm_{name}" for name in functions.split()} | {"rkllm_rs_cpu_table"}


CHECK = Path(__file__).parents[1] / "check_symbols.sh"


def checked(library: Path) -> subprocess.CompletedProcess[str]:
    if not shutil.which("nm"):
        pytest.skip("NO nm: the undefined symbols were not tested")
    return subprocess.run([CHECK, library], capture_output=True, text=True, check=False)


def test_no_openmp_runtime_is_needed(library: Path) -> None:
    done = checked(library)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("name", ["GOMP_parallel", "omp_get_thread_num", "__kmpc_fork_call"])
def test_one_that_needs_an_openmp_runtime_is_found(tmp_path: Path, name: str) -> None:
    compiler = shutil.which("cc")
    if not compiler:
        pytest.skip("NO C compiler: the check of undefined symbols was not tested")
    planted = tmp_path / "planted.so"
    source = f"void {name}(void); void go(void) {{ {name}(); }}"
    command = [compiler, "-shared", "-fPIC", "-x", "c", "-", "-o", planted]
    subprocess.run(command, input=source, text=True, check=True)
    done = checked(planted)
    assert done.returncode == 1
    assert name in done.stderr
