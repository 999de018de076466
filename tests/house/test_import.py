import subprocess
import sys

TIME_IMPORT = "import time; start = time.perf_counter(); import labkit; print(time.perf_counter() - start)"


def test_importing_labkit_takes_less_than_300_ms():
    def seconds() -> float:
        return float(subprocess.run([sys.executable, "-c", TIME_IMPORT], check=True, capture_output=True).stdout)

    assert min(seconds() for _ in range(5)) < 0.3
