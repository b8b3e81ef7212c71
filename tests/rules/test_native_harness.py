"""The harness of the C tests reports what it must: each way in which a C test can fail does fail."""

from __future__ import annotations

import re
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from tests.native import runner
from tests.rules import source

if TYPE_CHECKING:
    from pathlib import Path

PROGRAM = """{directives}
#include "check.h"

#include <pthread.h>
#include <stdint.h>

static int shared;

static void *count(void *unused) {{
    shared++;
    return unused;
}}

static void subject(void) {{
{body}
}}

CHECK_MAIN(CHECK_TEST(subject))
"""
RACE = """    pthread_t threads[2];
    for (int i = 0; i < 2; i++) {
        REQUIRE(pthread_create(&threads[i], NULL, count, NULL) == 0);
    }
    for (int i = 0; i < 2; i++) {
        REQUIRE(pthread_join(threads[i], NULL) == 0);
    }"""
USES_THREAD = "    CHECK(count(NULL) == NULL);\n"
OVERFLOW = (
    USES_THREAD
    + """    volatile size_t too_many = 5;
    char *four = malloc(4);
    REQUIRE(four != NULL);
    memset(four, 0, too_many);
    CHECK_EQ(four[0], 0);
    free(four);"""
)
LEAK = USES_THREAD + "    REQUIRE(malloc(64) != NULL);"
SHIFT = USES_THREAD + "    volatile int bits = 40;\n    CHECK((1 << bits) != 7);"
HANG = USES_THREAD + "    for (volatile int forever = 1; forever;) {\n    }"


def write(directory: Path, body: str, directives: str = "/* sources: */") -> runner.NativeTest:
    """Return a C test with the given body of its one test function."""
    path = directory / "test_subject.c"
    path.write_text(PROGRAM.format(body=body, directives=directives), encoding="utf-8")
    return runner.parse(path)


@pytest.mark.parametrize("variant", runner.VARIANT_FLAGS)
def test_passing_test_passes_in_every_variant(tmp_path: Path, variant: str) -> None:
    """A test without mistakes passes, and its checks are counted."""
    test = write(tmp_path, USES_THREAD + "    CHECK_EQ(shared, 1);")
    assert runner.run_test(test, variant).checks == 2


@pytest.mark.parametrize(
    ("body", "variant", "said"),
    [
        pytest.param(
            USES_THREAD + "    CHECK_EQ(shared, 2);", "plain", "check failed: shared == 2", id="a failed check"
        ),
        pytest.param("    (void)count(NULL);", "plain", "the test checks something", id="no check"),
        pytest.param("    exit(count(NULL) != NULL);", "plain", "after 0 checks", id="an early exit"),
        pytest.param(USES_THREAD + "    abort();", "plain", "was killed by signal 6", id="an abort"),
        pytest.param(USES_THREAD + "    int unused_name;", "plain", "does not compile", id="a warning"),
        pytest.param(OVERFLOW, "asan", "heap-buffer-overflow", id="an overflow"),
        pytest.param(LEAK, "asan", "LeakSanitizer", id="a leak"),
        pytest.param(SHIFT, "asan", "shift exponent", id="undefined behaviour"),
        pytest.param(RACE, "tsan", "data race", id="a race"),
    ],
)
def test_failing_test_fails_and_says_why(tmp_path: Path, body: str, variant: str, said: str) -> None:
    """Each kind of mistake is found in the variant that is there for it."""
    test = write(tmp_path, body)
    with pytest.raises(runner.NativeTestError, match=re.escape(said)):
        runner.run_test(test, variant)


def test_hanging_test_is_stopped(tmp_path: Path) -> None:
    """A test that does not end is stopped at its timeout."""
    test = write(tmp_path, HANG, "/* sources: */\n/* timeout: 1 */")
    with pytest.raises(runner.NativeTestError, match="did not end in time"):
        runner.run_test(test, "plain")


def test_mutant_that_fails_is_killed(tmp_path: Path) -> None:
    """A mutant passes as an item when the test notices it, and its flag reaches the compiler."""
    body = "#ifndef STEPS\n#define STEPS 1\n#endif\n" + USES_THREAD + "    CHECK_EQ(shared, STEPS);"
    test = write(tmp_path, body, "/* sources: */\n/* mutant: plain -DSTEPS=2 expect-fail */")
    assert runner.run_test(test, "plain").checks == 2
    assert runner.run_mutant(test, test.mutants[0]).status == 1


def test_mutant_that_survives_is_reported(tmp_path: Path) -> None:
    """A mutant that the test does not notice fails as an item."""
    test = write(tmp_path, USES_THREAD, "/* sources: */\n/* mutant: plain -DNOBODY_READS_THIS=2 expect-fail */")
    with pytest.raises(runner.NativeTestError, match="survived"):
        runner.run_mutant(test, test.mutants[0])


def test_mutant_that_does_not_compile_is_not_killed(tmp_path: Path) -> None:
    """A mutant has to run to be killed."""
    test = write(tmp_path, USES_THREAD, "/* sources: */\n/* mutant: plain -DCHECK_EQ=2 expect-fail */")
    with pytest.raises(runner.NativeTestError, match="does not compile"):
        runner.run_mutant(test, test.mutants[0])


@pytest.mark.parametrize(
    "directives",
    [
        "",
        "/* sources: no_such_file.c */",
        "/* sources: */\n/* variants: fast */",
        "/* sources: */\n/* mutant: -DX=1 */",
        "/* sources: */\n/* mutant: expect-fail */",
    ],
)
def test_malformed_directives_are_refused(tmp_path: Path, directives: str) -> None:
    """A directive that means nothing is an error and not ignored."""
    with pytest.raises(runner.NativeTestError):
        write(tmp_path, USES_THREAD, directives)


def test_pytest_reports_a_failing_c_test_as_failed(tmp_path: Path) -> None:
    """Through pytest itself: variants and mutants are items, and what a failing one printed is shown."""
    write(
        tmp_path,
        USES_THREAD + "    CHECK_EQ(shared, 2);",
        "/* sources: */\n/* variants: plain asan */\n/* mutant: -DX=1 expect-fail */",
    )
    result = subprocess.run(
        [
            *(sys.executable, "-m", "pytest", "-p", "tests.native.conftest", "-o", f"cache_dir={tmp_path}"),
            *("-c", str(source.ROOT / "pyproject.toml"), "--rootdir", str(tmp_path), str(tmp_path)),
        ],
        cwd=source.ROOT,
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert result.returncode == 1, result.stdout + result.stderr
    assert "2 failed, 1 passed" in result.stdout
    assert "check failed: shared == 2" in result.stdout
